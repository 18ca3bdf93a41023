"""A page of a report, taken apart."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """Checks that every element that is opened is closed, in order, and that links lead on."""

    VOID = frozenset({"meta", "img", "br", "wbr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()
        self.links: list[str] = []
        self.images: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        self.names.add(values.get("id") or "")
        self.links += [values.get("href") or ""] * (tag == "a")
        self.images += [values.get("src") or ""] * (tag == "img")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
