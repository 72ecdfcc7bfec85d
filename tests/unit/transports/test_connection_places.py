import pytest

from antiphon.transports.connections import SURPLUS, Connections, always_served, most_connections


class Transport:
    aborted = False

    def abort(self):
        self.aborted = True


def enter(connections, address="10.0.0.1", count=1):
    """The transports that have entered as any other, and those that have not."""
    made = [Transport() for _ in range(count)]
    taken = [connections.enter(transport, address) for transport in made]
    return [t for t, ok in zip(made, taken, strict=True) if ok], [
        t for t, ok in zip(made, taken, strict=True) if not ok
    ]


def test_who_has_been_idle_the_longest_gives_way():
    connections = Connections(most=3, per_address=10)
    (first, second, third), _ = enter(connections, count=3)
    connections.busy(first)
    connections.busy(second)
    connections.idle(second)
    (fourth,), _ = enter(connections)
    assert [t.aborted for t in (first, second, third, fourth)] == [False, False, True, False]
    (_,), _ = enter(connections)
    assert [t.aborted for t in (first, second, fourth)] == [False, True, False]
    assert (len(connections), connections.dropped, connections.refused) == (3, 2, 0)


def test_where_all_are_busy_one_more_is_surplus():
    connections = Connections(most=2, per_address=10)
    busy, _ = enter(connections, count=2)
    for transport in busy:
        connections.busy(transport)
    taken, surplus = enter(connections, count=SURPLUS + 3)
    assert taken == []
    assert [t.aborted for t in surplus] == [True] * 3 + [False] * SURPLUS
    assert len(connections) == 2 + SURPLUS
    connections.leave(busy[0])
    taken, _ = enter(connections)
    assert len(taken) == 1
    assert not any(t.aborted for t in busy)


def test_where_all_surplus_ones_are_busy_the_first_gives_way():
    connections = Connections(most=1, per_address=10)
    (only,), _ = enter(connections)
    connections.busy(only)
    _, surplus = enter(connections, count=SURPLUS)
    for transport in surplus:
        connections.busy(transport)
    _, (last,) = enter(connections)
    assert [t.aborted for t in (*surplus, last)] == [True] + [False] * SURPLUS
    connections.leave(last)
    connections.leave(last)
    assert len(connections) == SURPLUS


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),  # one subscriber's network
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
    ],
)
def test_one_address_has_a_bound_of_its_own(one, other, same):
    connections = Connections(most=10, per_address=1)
    (first,), _ = enter(connections, one)
    taken, _ = enter(connections, other)
    assert bool(taken) is not same
    assert not first.aborted
    connections.leave(first)
    taken, _ = enter(connections, one)
    assert len(taken) == 1 or not same


@pytest.mark.parametrize(("descriptors", "most"), [(256, 128), (1024, 512), (20_000, 19_488), (1, 1)])
def test_descriptors_are_kept_back(descriptors, most):
    assert most_connections(descriptors) == most


def test_what_is_always_served():
    assert all(always_served(path) for path in ("/healthz", "/readyz", "/metrics", "/admin/v1/keys"))
    assert not any(always_served(path) for path in ("/", "/v1/models", "/v1/listen?x=/healthz"))
