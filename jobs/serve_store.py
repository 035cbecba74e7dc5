"""Serve a store on this machine: its objects by byte range, and a page to look at volumes and lesions."""

from etl.commands.serve_store import main

if __name__ == "__main__":
    main()
