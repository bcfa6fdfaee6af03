"Answers like the program Tesseract, but tells the size of the image instead of reading it."
import sys

from PIL import Image

if "--version" in sys.argv: print("tesseract 5.0.0")
elif "--list-langs" in sys.argv: print("List of available languages (2):\neng\nosd")
else:
    width, height = Image.open(sys.argv[1]).size
    with open(sys.argv[2]+".txt", "w") as f:
        f.write(f" {height}x{width} {' '.join(sys.argv[3:7])}\n\f")
