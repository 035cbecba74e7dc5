"""Certificates for TLS in tests: an authority made for the occasion, and what it signs."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def write_certificates(folder: Path, who: str = "node") -> tuple[Path, Path, Path]:
    """An authority, and one certificate of it with its key, as PEM files in `folder`.

    Returns:
        The paths of the authority's certificate, the certificate, and the key.
    """
    now = datetime.datetime.now(datetime.UTC)
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("authority", who)}
    paths = []
    for subject in ("authority", who):
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(_name("authority"))
            .public_key(keys[subject].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=subject == "authority", path_length=None), critical=True)
            .sign(keys["authority"], hashes.SHA256())
        )
        path = folder / f"{subject}.pem"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths.append(path)
    key_path = folder / f"{who}-key.pem"
    key_path.write_bytes(
        keys[who].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths[0], paths[1], key_path
