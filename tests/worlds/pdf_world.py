"""Just enough of PDF to read what our own files say: pages, their text by ToUnicode, their tags."""

import re
import zlib

_OBJECT = re.compile(rb"(?<=\n)(\d+) 0 obj\n(.*?)\nendobj", re.DOTALL)

_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}


class Pdf:
    """A file as the typesetter writes it: plain objects, compressed streams."""

    def __init__(self, data):
        self.data = data
        self.objects = {int(n): body for n, body in _OBJECT.findall(data)}
        pages = next(body for body in self.objects.values() if b"/Type/Pages" in body)
        self.pages = [int(n) for n in re.findall(rb"(\d+) 0 R", pages.split(b"Kids")[1])]

    def text(self, page):
        """The words of a page, in the order in which they are drawn."""
        body = self.objects[self.pages[page]]
        maps = self._maps(body)
        number = int(re.search(rb"/Contents (\d+) 0 R", body)[1])
        font, out = {}, []
        for name, raw in _shown(self.stream(number)):
            if name:
                font = maps.get(name, {})
                continue
            codes = [int.from_bytes(raw[i : i + 2]) for i in range(0, len(raw), 2)]
            out.append("".join(font.get(code, "\ufffd") for code in codes))
        return "".join(out)

    def all_text(self):
        return "".join(self.text(page) for page in range(len(self.pages)))

    def stream(self, number):
        head, _, rest = self.objects[number].partition(b"stream\n")
        raw = rest.rsplit(b"\nendstream", 1)[0]
        return zlib.decompress(raw) if b"FlateDecode" in head else raw

    def _maps(self, page):
        resources = page
        if found := re.search(rb"/Resources (\d+) 0 R", page):
            resources = self.objects[int(found[1])]
        fonts = re.search(rb"/Font\s*<<(.*?)>>", resources, re.DOTALL)[1]
        maps = {}
        for name, number in re.findall(rb"/(\S+?) (\d+) 0 R", fonts):
            to = re.search(rb"/ToUnicode (\d+) 0 R", self.objects[int(number)])
            maps[name] = _to_unicode(self.stream(int(to[1])))
        return maps


def _shown(content):
    """Font names chosen and strings drawn, in order; strings may hold balanced parentheses."""
    at = 0
    while found := re.compile(rb"/(\S+) [\d.]+ Tf|<([0-9a-fA-F]+)>|\(").search(content, at):
        at = found.end()
        if found[1]:
            yield found[1], b""
        elif found[2]:
            yield b"", bytes.fromhex(found[2].decode())
        else:
            raw, depth = bytearray(), 1
            while depth:
                char = content[at : at + 1]
                at += 1
                if char == b"\\":
                    octal = re.compile(rb"[0-7]{1,3}").match(content, at)
                    if octal:
                        raw.append(int(octal[0], 8))
                        at = octal.end()
                        continue
                    char = content[at : at + 1]
                    raw += _ESCAPES.get(char, char)
                    at += 1
                    continue
                depth += (char == b"(") - (char == b")")
                if depth:
                    raw += char
            yield b"", bytes(raw)


def _to_unicode(cmap):
    found = {}
    for block in re.findall(rb"beginbfchar(.*?)endbfchar", cmap, re.DOTALL):
        for code, text in re.findall(rb"<(\w+)>\s*<(\w*)>", block):
            found[int(code, 16)] = bytes.fromhex(text.decode()).decode("utf-16-be")
    for block in re.findall(rb"beginbfrange(.*?)endbfrange", cmap, re.DOTALL):
        for first, last, text in re.findall(rb"<(\w+)>\s*<(\w+)>\s*<(\w+)>", block):
            start = int(text, 16)
            for code in range(int(first, 16), int(last, 16) + 1):
                found[code] = chr(start + code - int(first, 16))
    return found
