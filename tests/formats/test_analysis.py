"""Messages of istioctl analyze, 1.4 to 1.31."""

import pytest

from meshdiag.formats import detect
from meshdiag.formats.analysis import parse

TEXT = 'Referenced host not found: "reviews.default"'


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"Error [IST0101] (VirtualService default/reviews) {TEXT}", ("VirtualService", "reviews", "default", "")),
        (f"Error [IST0101] (VirtualService reviews.default) {TEXT}", ("VirtualService", "reviews", "default", "")),
        (
            f"Error [IST0101] (VirtualService default/reviews vs.yaml:12) {TEXT}",
            ("VirtualService", "reviews", "default", ""),
        ),
        (f"Error [IST0101](VirtualService/default/reviews) {TEXT}", ("VirtualService", "reviews", "default", "")),
        (f"Error [IST0101] [cluster-east] (Namespace default) {TEXT}", ("Namespace", "default", "", "east")),
        (f"Error [IST0101] {TEXT}", ("", "", "", "")),
        (f"\x1b[1;31mError\x1b[0m [IST0101] (Namespace default) {TEXT}", ("Namespace", "default", "", "")),
        (
            f"      message: 'Error [IST0101] (VirtualService default/reviews) {TEXT}'",
            ("VirtualService", "reviews", "default", ""),
        ),
        (
            '{"code":"IST0101","level":"Error","message":"Referenced host not found: \\"reviews.default\\"",'
            '"origin":"VirtualService default/reviews","documentationUrl":"https://istio.io"}',
            ("VirtualService", "reviews", "default", ""),
        ),
    ],
)
def test_shapes(line: str, expected: tuple[str, str, str, str]) -> None:
    record = parse(line)
    assert record is not None
    assert detect(line) == record
    assert (record.format, record.level, record.component, record.message) == ("analysis", "error", "istioctl", TEXT)
    assert record.fields["code"] == "IST0101"
    assert tuple(record.fields.get(k, "") for k in ("object_kind", "object", "namespace", "cluster")) == expected


@pytest.mark.parametrize(
    ("word", "level"), [("Error", "error"), ("Warning", "warning"), ("Warn", "warning"), ("Info", "info")]
)
def test_levels(word: str, level: str) -> None:
    record = parse(f"{word} [IST0102] (Namespace default) The namespace is not enabled for Istio injection.")
    assert record is not None and record.level == level


def test_the_file_of_a_resource() -> None:
    record = parse("Info [IST0118] (Service default/a svc.yaml:3) Port name x")
    assert record is not None and record.fields["file"] == "svc.yaml:3"


def test_the_status_of_a_resource() -> None:
    record = parse(
        '{"documentationUrl":"https://istio.io","level":"WARNING","type":{"code":"IST0104","name":"GatewayPort"}}'
    )
    assert record is not None
    assert (record.fields["code"], record.level) == ("IST0104", "warning")


@pytest.mark.parametrize(
    "line", ["Error: Analyzers found issues", "[IST0101] x", '{"code":"IST0101"}', '{"code":5,"level":"x"}', ""]
)
def test_others(line: str) -> None:
    assert parse(line) is None
