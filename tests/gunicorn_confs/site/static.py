"""The same, with files of its own by WhiteNoise."""

import os

from whitenoise import WhiteNoise

import plain

os.makedirs("files/missing", exist_ok=True)
for name, text in (("index.html", "<p>front" * 2000), ("missing/index.html", "<p>small")):
    with open("files/" + name + str(os.getpid()), "w") as file:
        file.write(text)
    os.rename(file.name, "files/" + name)
    os.utime("files/" + name, (1700000000, 1700000000))

application = WhiteNoise(plain.application, root="files", index_file=True)
