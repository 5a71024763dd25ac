"""What a file is by its first bytes, in words: so that a picture is refused as a picture, whatever its name says."""

from __future__ import annotations

HEAD = 512
"""Bytes that `what` wants to see."""

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"%PDF-", "PDF"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"PK\x05\x06", "zip"),
    (0, b"\x1f\x8b", "gzip"),
    (257, b"ustar", "tar"),
    (0, b"PAR1", "Parquet"),
    (0, b"\x89PNG\r\n\x1a\n", "a picture (PNG)"),
    (0, b"\xff\xd8\xff", "a picture (JPEG)"),
    (0, b"GIF8", "a picture (GIF)"),
    (0, b"II*\0", "a picture (TIFF)"),
    (0, b"MM\0*", "a picture (TIFF)"),
    (8, b"WEBP", "a picture (WebP)"),
    (4, b"ftypheic", "a picture (HEIC)"),
    (128, b"DICM", "a medical image (DICOM)"),
    (8, b"WAVE", "a sound recording (WAV)"),
    (0, b"ID3\x02", "a sound recording (MP3)"),
    (0, b"ID3\x03", "a sound recording (MP3)"),
    (0, b"ID3\x04", "a sound recording (MP3)"),
    (0, b"\xff\xfb", "a sound recording (MP3)"),
    (0, b"\xff\xf3", "a sound recording (MP3)"),
    (0, b"OggS", "a sound recording (Ogg)"),
    (0, b"fLaC", "a sound recording (FLAC)"),
    (4, b"ftyp", "a film or sound recording (MP4)"),
    (0, b"\x1aE\xdf\xa3", "a film or sound recording (Matroska)"),
    (0, b"\xd0\xcf\x11\xe0", "an old binary Office file: save it as DOCX"),
    (0, b"\x7fELF", "a program (ELF)"),
    (0, b"MZ\x90", "a program (Windows)"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: pack it as zip or tar"),
    (0, b"Rar!", "a RAR archive: pack it as zip or tar"),
    (4, b"1AY&SY", "a bzip2 file: pack it as zip or tar.gz"),
    (0, b"\xfd7zXZ\0", "an xz file: pack it as zip or tar.gz"),
    (0, b"(\xb5/\xfd", "a Zstandard file: pack it as zip or tar.gz"),
    (0, b"SQLite format 3\0", "a SQLite database"),
)

_SUFFIX = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".tif", ".tiff", ".bmp", ".webp", ".heic", ".svg"), "a picture"),
    ".dcm": "a medical image (DICOM)",
    **dict.fromkeys((".wav", ".mp3", ".m4a", ".ogg", ".opus", ".flac", ".aac", ".wma"), "a sound recording"),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".mkv", ".webm"), "a film"),
    ".doc": "an old binary Office file: save it as DOCX",
    **dict.fromkeys((".xls", ".xlsx", ".ods"), "a spreadsheet: save it as CSV"),
    **dict.fromkeys((".ppt", ".pptx", ".odp"), "a slide show: save it as PDF"),
}


def what(head: bytes) -> str | None:
    """What the first bytes say a file is; None for text and for what is not known."""
    found = next((name for offset, magic, name in _MAGIC if head[offset : offset + len(magic)] == magic), None)
    if found is None and head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":
        return "a picture (BMP)"
    return found


def named(suffix: str) -> str | None:
    """What a suffix that no reader takes says a file is."""
    return _SUFFIX.get(suffix)
