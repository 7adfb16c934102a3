"""Real addresses and keys become placeholders; common examples stay."""

import pytest

from fim.secrets import detectors
from training.redaction import redact


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# mail ada.l+x@firm.co.uk\n", "# mail <EMAIL>\n"),
        ("see user@example.com\n", "see user@example.com\n"),
        ("@decorator\ndef f(a@b): pass\n", "@decorator\ndef f(a@b): pass\n"),
        ("git@github.com:me/it.git", "<EMAIL>:me/it.git"),
        ("host = '93.184.216.34'", "host = '<IP_ADDRESS>'"),
        ("127.0.0.1 192.168.1.7 0.0.0.0", "127.0.0.1 192.168.1.7 0.0.0.0"),
        ("version = 1.2.3.400", "version = 1.2.3.400"),
        ("v1.2.3.4.5", "v1.2.3.4.5"),
        ('token = "ghp_0123456789abcdefghijABCDEFGHIJ012345"', 'token = "<KEY>"'),
        ("aws = 'AKIAQYLPMN5HFIQR7XYA'", "aws = '<KEY>'"),
        (
            f"-----BEGIN RSA PRIVATE KEY-----\n{'MIIEabc+/09' * 9}\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----<KEY>-----END RSA PRIVATE KEY-----",
        ),
        ("d = 'e3b0c44298fc1c149afbf4c8996fb924'", "d = 'e3b0c44298fc1c149afbf4c8996fb924'"),
    ],
)
def test_only_personal_data_and_keys_are_replaced(text: str, expected: str) -> None:
    with detectors():
        assert redact(text, {}) == expected


def test_each_kind_is_counted() -> None:
    counts: dict[str, int] = {}
    with detectors():
        redact("a@firm.org b@firm.org 93.184.216.34", counts)
    assert counts == {"<EMAIL>": 2, "<IP_ADDRESS>": 1}
