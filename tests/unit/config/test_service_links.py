"""Variables that Kubernetes sets for Services, built as the kubelet builds them (`pkg/kubelet/envvars/envvars.go`)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from notifier.config.layers import is_kubernetes_variable

# A DNS-1035 label, which may have several hyphens in a row; a port's name may not.
NAMES = st.from_regex(r"\A-{0,2}(?:[a-z0-9]{1,8}-{1,2}){0,3}[a-z0-9]{1,8}\Z").map(lambda rest: f"notifier-{rest}")
PORT_NAMES = st.from_regex(r"\A(?:[a-z0-9]{1,5}-)?[a-z][a-z0-9]{0,5}\Z")
ADDRESSES = st.one_of(st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str))


@dataclass(frozen=True)
class Port:
    number: int
    protocol: str
    name: str


PORTS = st.builds(Port, st.integers(1, 65535), st.sampled_from(["TCP", "UDP", "SCTP"]), PORT_NAMES | st.just(""))


def kubelet(service: str, address: str, ports: Sequence[Port]) -> Iterator[tuple[str, str]]:
    prefix = service.upper().replace("-", "_")
    host = f"[{address}]" if ":" in address else address
    yield f"{prefix}_SERVICE_HOST", address
    yield f"{prefix}_SERVICE_PORT", str(ports[0].number)
    yield f"{prefix}_PORT", f"{ports[0].protocol.lower()}://{host}:{ports[0].number}"
    for port in ports:
        if port.name:
            yield f"{prefix}_SERVICE_PORT_{port.name.upper().replace('-', '_')}", str(port.number)
        one = f"{prefix}_PORT_{port.number}_{port.protocol}"
        yield one, f"{port.protocol.lower()}://{host}:{port.number}"
        yield f"{one}_PROTO", port.protocol.lower()
        yield f"{one}_PORT", str(port.number)
        yield f"{one}_ADDR", address


@given(st.just("notifier") | NAMES, ADDRESSES, st.lists(PORTS, min_size=1, max_size=3))
def test_is_kubernetes_variable_accepts_all_service_variables(service: str, address: str, ports: list[Port]) -> None:
    made = list(kubelet(service, address, ports))
    assert [one for one in made if not is_kubernetes_variable(*one)] == []


@given(st.sampled_from(["SOURCES__A__TOKEN", "HTTP__LISTEN", "SOURCES__PORT__TOKEN", "STORE__URL"]), ADDRESSES)
def test_is_kubernetes_variable_is_false_for_configuration_keys(key: str, address: str) -> None:
    for text in (address, "8787", f"tcp://{address}:8787", "tcp"):
        assert not is_kubernetes_variable(f"NOTIFIER_{key}", text)
