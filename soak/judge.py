"""Compares what the two ends of a connection saw with each other and with the plan. The law of the soak.

Whatever looks complete must be complete; whatever was not cut on purpose must look complete; and nothing arrives that
was not sent. Bytes themselves are checked where they arrive.
"""

from collections.abc import Sequence

import attrs

from soak.accounts import Account
from soak.plans import CLIENT, UPSTREAM, Conversation, Declined, Plan, Probe, Refused, TunnelPlan, Where
from soak.wires import How

Accounts = Sequence[Account]


@attrs.frozen
class Seen:
    """All that both ends have told of one connection."""

    plan: Plan
    client: Accounts
    upstream: Accounts

    def of_upstream(self, exchange: int) -> list[Account]:
        """What the upstream saw of one exchange."""
        return [account for account in self.upstream if account.exchange == exchange]


def wrongs(seen: Seen) -> list[str]:
    """Everything that must not be, a sentence each."""
    found = [
        f"{account.side}, exchange {account.exchange}: {problem}"
        for account in (*seen.client, *seen.upstream)
        for problem in account.problems
    ]
    found += [
        f"{account.side}, exchange {account.exchange}: wrong bytes at {account.wrong.offset}, "
        f"expected {account.wrong.expected[:16].hex()}, found {account.wrong.found[:16].hex()}"
        for account in (*seen.client, *seen.upstream)
        if account.wrong is not None
    ]
    if found:
        return found  # the rest would only follow from it
    match seen.plan.what:
        case TunnelPlan() as what:
            return _tunnel(what, seen)
        case Conversation() as what:
            return _conversation(what, seen)
        case Declined() as what:
            return _declined(what, seen)
        case Refused() as what:
            return _refused(what, seen)
        case Probe():
            return [f"a probe reached the upstream as {account}" for account in seen.upstream]


def _direction(sender: Account, receiver: Account, *, cut: bool, ended: bool | None = None) -> list[str]:
    """One way of one exchange. `ended`: whether the sender ended in order, where that is not what its account says."""
    way = f"exchange {sender.exchange}, from {sender.side} to {receiver.side}"
    figures = f"{sender.sent} bytes were sent and {receiver.got} arrived"
    finished = sender.finished if ended is None else ended
    if receiver.got > sender.sent:
        return [f"{way}: {figures}"]
    if receiver.complete and not finished:
        return [f"{way}: looks complete, and was cut ({figures})"]
    if receiver.complete and (receiver.got, receiver.got_hash) != (sender.sent, sender.sent_hash):
        return [f"{way}: looks complete, and is not: {figures} (hashes {sender.sent_hash}, {receiver.got_hash})"]
    if not cut and not (finished and receiver.complete):
        ends = f"{sender.side} saw the end {sender.end!r}, {receiver.side} {receiver.end!r}"
        return [f"{way}: {figures}, said to its end: {finished}, complete: {receiver.complete}; {ends}"]
    return []


# Tunnels.


def _tunnel(what: TunnelPlan, seen: Seen) -> list[str]:
    (client,) = seen.client
    if len(seen.upstream) > 1:
        return ["the tunnel reached the upstream more than once"]
    if not what.is_cut:
        if client.status != 101:
            return [f"an upgrade was answered {client.status} {client.reason}"]
        if not seen.upstream:
            return ["the tunnel never reached the upstream"]
    elif client.status != 101 or not seen.upstream:
        return []  # cut before there was a tunnel
    (upstream,) = seen.upstream
    found = _direction(client, upstream, cut=what.is_cut, ended=_ended(what, client, upstream, seen.plan))
    found += _direction(upstream, client, cut=what.is_cut)
    if not (found or what.is_cut):
        for account in (client, upstream):
            if account.sent != (planned := what.count(account.side)):
                found.append(f"the {account.side} has sent {account.sent} bytes instead of {planned}")
    return found


def _ended(what: TunnelPlan, client: Account, upstream: Account, plan: Plan) -> bool:
    """Whether the client's end counts as one in order.

    FIN without close_notify does where the other side has said its end before: what is cut off then is nothing, and
    browsers do it.
    """
    left_so = what.client.how_cut in (How.LEAVE, How.TRUNCATE) and plan.port.secure
    return client.finished or (left_so and upstream.finished)


# HTTP.


def _conversation(what: Conversation, seen: Seen) -> list[str]:
    found: list[str] = []
    strays = [account for account in seen.upstream if account.exchange >= len(what.exchanges)]
    found += [f"the upstream got a request that nobody sent: {account}" for account in strays]
    for number in range(len(what.exchanges)):
        if found:
            break  # the rest would only follow from it
        last = number == len(what.exchanges) - 1
        client = next((account for account in seen.client if account.exchange == number), None)
        upstreams = seen.of_upstream(number)
        if len(upstreams) > 1:
            found.append(f"exchange {number} reached the upstream {len(upstreams)} times")
        elif last and what.cut is not None:
            found += _cut_exchange(what, client, upstreams)
        elif client is None or not upstreams:
            answered = f"; the client got {client.status} {client.reason}" if client else ""
            found.append(f"exchange {number} reached the upstream {len(upstreams)} times{answered}")
        else:
            found += _exchange(what, number, client, upstreams[0])
    return found


def _exchange(what: Conversation, number: int, client: Account, upstream: Account) -> list[str]:
    exchange = what.exchanges[number]
    if client.reason or client.status != exchange.status:
        return [f"exchange {number} was answered {client.status} {client.reason} instead of {exchange.status}"]
    found = _direction(upstream, client, cut=False)
    if exchange.early:
        return found
    found += _direction(client, upstream, cut=False)
    if client.sent != exchange.body.count:
        found.append(f"exchange {number}: the client has sent {client.sent} bytes instead of {exchange.body.count}")
    return found


def _cut_exchange(what: Conversation, client: Account | None, upstreams: list[Account]) -> list[str]:
    assert what.cut is not None
    if client is None:
        return []
    if not upstreams:
        if what.cut.side == UPSTREAM:
            return [f"exchange {client.exchange} never reached the upstream ({client.status} {client.reason})"]
        return [f"exchange {client.exchange} looks complete without an upstream"] if client.complete else []
    found = _direction(client, upstreams[0], cut=True) + _direction(upstreams[0], client, cut=True)
    unanswered = what.cut.side == UPSTREAM and what.cut.where is not Where.ANSWER
    if unanswered and (client.status, client.reason) != (502, "upstream-closed"):
        found.append(f"no answer came, and the client got {client.status} {client.reason} (end: {client.end})")
    return found


def _declined(what: Declined, seen: Seen) -> list[str]:
    (client,) = seen.client
    if len(seen.upstream) != 1:
        return [f"an upgrade reached the upstream {len(seen.upstream)} times; the client got {client.status}"]
    if (client.status, client.reason) != (what.status, ""):
        return [f"an upgrade was declined with {what.status}, and the client got {client.status} {client.reason}"]
    return _direction(seen.upstream[0], client, cut=False)


def _refused(what: Refused, seen: Seen) -> list[str]:
    (client,) = seen.client
    found = []
    if (client.status, client.reason) != (what.status, what.reason):
        found.append(f"answered {client.status} {client.reason} instead of {what.status} {what.reason}")
    if not client.complete:
        found.append("the relay's own answer is not complete")
    for account in seen.upstream:
        if not what.reaches_upstream or account.complete:
            found.append(f"the upstream got what was refused: {account}")
    return found


def length_of(plan: Plan, side: str) -> int:
    """At most how many bytes any stream of one side has, where somebody looks for the owner of foreign bytes."""
    match plan.what:
        case TunnelPlan() as what:
            return what.count(side)
        case Conversation(exchanges=exchanges):
            return max((one.body if side == CLIENT else one.answer).count for one in exchanges)
        case Declined(answer=answer):
            return answer.count
    return 0
