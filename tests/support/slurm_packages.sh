#!/usr/bin/env bash
# Unpacks Debian's packages of Slurm and munge into a folder, without installing them and without being root.
# Usage: packages.sh FOLDER. Ends with 77 where they can't be had, and says why.
set -euo pipefail
folder=$1

cannot() {
    echo "Debian's packages of Slurm can't be had: $1" >&2
    exit 77
}

for command in apt-get dpkg-deb; do
    command -v "$command" >/dev/null || cannot "there is no $command"
done
missing=$(apt-get --simulate --no-install-recommends install slurmctld slurmd slurm-client munge 2>&1) ||
    cannot "$(tail -n 1 <<<"$missing")"
names=$(awk '/^Inst / {print $2}' <<<"$missing")
[[ -n $names ]] || cannot 'they are installed already; use those'

rm -rf "$folder.part"
mkdir -p "$folder.part/packages"
cd "$folder.part"
# shellcheck disable=SC2086  # one word a package
(cd packages && apt-get --quiet --quiet download $names 2>&1) || cannot 'the download failed'
for package in packages/*.deb; do
    dpkg-deb --extract "$package" .
done
rm -r packages
cd ..
mv "$folder.part" "$folder"
