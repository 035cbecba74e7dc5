"""Export a store in a format that other tools read: NIfTI, COCO, CSV, review images, Croissant."""

from etl.commands.export import main

if __name__ == "__main__":
    main()
