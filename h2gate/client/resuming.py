"""Where an upload that broke goes on, without any I/O: it is told what came, and says what to do next.

An upload is `CREATE`d with all of the file as its body. When that breaks the gateway is `ASK`ed how far it came, and
the rest is `APPEND`ed, as often as it takes. One whose URL is not known is looked for (`FIND`). What was all sent and
not answered is `CHECK`ed. A gateway that has none of this gets the file again, from its first byte.
"""

from __future__ import annotations

from enum import Enum, auto


class Step(Enum):
    FIND = auto()
    """Ask the gateway for an upload of this file that broke."""
    CREATE = auto()
    ASK = auto()
    """HEAD of the upload."""
    APPEND = auto()
    CHECK = auto()
    """All of it is there: is it what was to be sent?"""
    PLAIN = auto()
    """The whole file, without a word of resuming."""


class Resuming:
    """One file's upload. `step` is what is to be done now, `url` the upload, `offset` where its rest begins."""

    def __init__(self, *, url: str = "", find: bool = False) -> None:
        """`url`: what an earlier run began. `find`: it may have begun one that nobody remembers."""
        self.url = url
        self.offset = 0
        self.is_mine = True
        """Begun by this run or remembered from an earlier one, not found."""
        self.is_sure = False
        """What is there is of this very file."""
        self._may_find = True
        self.step = Step.ASK if url else Step.FIND if find else Step.CREATE

    def told(self, url: str, offset: int) -> None:
        """An interim response (104) named the upload, or said how much of it is safe."""
        if url and not self.url:
            self.url, self.is_mine, self.is_sure = url, True, True
        self.offset = max(self.offset, offset)

    def found(self, url: str) -> None:
        """What `FIND` came to; "" is nothing."""
        self.url, self.is_mine, self.is_sure = url, False, False
        self.step = Step.ASK if url else Step.CREATE

    def asked(self, offset: int, *, complete: bool) -> None:
        """What `ASK` came to."""
        self.offset = offset
        self.step = Step.CHECK if complete else Step.APPEND

    def broke(self) -> None:
        """A try failed and may be repeated."""
        if self.step is Step.PLAIN:
            return
        if self.url:
            self.step = Step.ASK
        elif self._may_find:
            self.step = Step.FIND

    def cannot_find(self) -> None:
        """The gateway has no list of uploads, or its list is not to be used."""
        self._may_find = False
        if self.step is Step.FIND:
            self.step = Step.CREATE

    def anew(self) -> None:
        """The upload is over, or it is of another file."""
        self.url, self.offset, self.step = "", 0, Step.CREATE

    def plain(self) -> None:
        """The gateway will not have it in this way."""
        self.url, self.offset, self.step = "", 0, Step.PLAIN
