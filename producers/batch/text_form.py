"""What a file of lines is written in, by its first bytes: UTF-8 is read, all else is named."""

from dataclasses import dataclass

HEAD_BYTES = 8


@dataclass(frozen=True, slots=True)
class TextForm:
    """An encoding with Python's name for it, or a compression. `str` is its name in a sentence."""

    name: str
    codec: str | None = None

    @property
    def compressed(self) -> bool:
        return self.codec is None

    def __str__(self) -> str:
        return f"compressed with {self.name}" if self.compressed else self.name


# The longer marks first: UTF-32's begins with UTF-16's.
_BEGINNINGS = (
    (b"\xff\xfe\x00\x00", TextForm("UTF-32", "utf-32")),
    (b"\x00\x00\xfe\xff", TextForm("UTF-32", "utf-32")),
    (b"\xff\xfe", TextForm("UTF-16", "utf-16")),
    (b"\xfe\xff", TextForm("UTF-16", "utf-16")),
    (b"\x1f\x8b", TextForm("gzip")),
    (b"\x28\xb5\x2f\xfd", TextForm("zstd")),
    (b"BZh", TextForm("bzip2")),
    (b"\xfd7zXZ\x00", TextForm("xz")),
    (b"PK\x03\x04", TextForm("zip")),
)
# Without a mark: JSON begins with an ASCII character, so the zeros around it tell the width and the order of its bytes.
_ZEROS = (
    ((False, True, True, True), TextForm("UTF-32", "utf-32-le")),
    ((True, True, True, False), TextForm("UTF-32", "utf-32-be")),
    ((False, True, False, True), TextForm("UTF-16", "utf-16-le")),
    ((True, False, True, False), TextForm("UTF-16", "utf-16-be")),
)


def text_form(head: bytes) -> TextForm | None:
    """What a file that begins with `head` (`HEAD_BYTES` of it) is; None for UTF-8, and for what is not known."""
    for beginning, form in _BEGINNINGS:
        if head.startswith(beginning):
            return form
    zeros = tuple(byte == 0 for byte in head[:4])
    return next((form for pattern, form in _ZEROS if zeros == pattern), None)
