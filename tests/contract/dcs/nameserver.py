"""A name server that knows some SRV records and addresses, and may hang or refuse."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

_END = b"end"


class NameServer:
    """``records`` by name: targets of SRV records (``priority weight port host``); ``addresses`` by name: IPv4."""

    def __init__(
        self,
        records: Mapping[str, Sequence[str]],
        addresses: Mapping[str, str] | None = None,
        at: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        self.records = dict(records)
        self.addresses = dict(addresses or {})
        self.asked = 0
        self.hangs = False
        self.broken = False
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(at)

    @contextmanager
    def serving(self) -> Iterator[NameServer]:
        thread = threading.Thread(target=self._serve, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._socket.sendto(_END, self._socket.getsockname())
            thread.join()
            self._socket.close()

    def resolver(self) -> dns.asyncresolver.Resolver:
        """One that asks this server only."""
        made = dns.asyncresolver.Resolver(configure=False)
        made.nameservers, made.port = ["127.0.0.1"], self._socket.getsockname()[1]
        return made

    def _serve(self) -> None:
        while True:
            wire, there = self._socket.recvfrom(4096)
            if wire == _END:
                return
            self.asked += 1
            if not self.hangs:
                self._socket.sendto(self._answer(dns.message.from_wire(wire)).to_wire(), there)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        name = query.question[0].name.to_text(omit_final_dot=True)
        if self.broken:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif name in self.addresses:
            if query.question[0].rdtype == dns.rdatatype.A:
                answer.answer.append(dns.rrset.from_text(query.question[0].name, 5, "IN", "A", self.addresses[name]))
        elif name not in self.records:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        else:
            answer.answer.append(dns.rrset.from_text(query.question[0].name, 5, "IN", "SRV", *self.records[name]))
        return answer
