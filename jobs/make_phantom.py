"""Write a small synthetic DeepLesion release in the official layout: archives, annotations, and the truth."""

from etl.commands.make_phantom import main

if __name__ == "__main__":
    main()
