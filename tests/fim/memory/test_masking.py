"""Keys and personal data are hidden; all other text and all offsets stay."""

import pytest

from fim.memory.masking import MAX_LINE_CHARACTERS, mask
from fim.secrets import key_patterns

A, D = "aB3dE5gH7j", "1234567890"
KEYS = {
    "Artifactory": "AKC" + A * 2,
    "Artifactory password": "AP1" + A,
    "AWS": "AKIA" + "ABCDEFGH12345678",
    "AWS secret": 'aws_secret_key = "' + A * 4 + '"',
    "Azure": "AccountKey=" + (A * 9)[:88],
    "Discord": "M" + (A * 3)[:23] + "." + A[:6] + "." + (A * 3)[:27],
    "GitHub": "ghp_" + (A * 4)[:36],
    "GitLab": "glpat-" + A * 2,
    "GitLab runner": "GR1348941" + A * 2,
    "JWT": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
    "Mailchimp": "0123456789abcdef" * 2 + "-us12",
    "npm": "//registry.npmjs.org/:_authToken=npm_xyz",
    "OpenAI": "sk-" + A * 2 + "T3BlbkFJ" + A * 2,
    "private key": "-----BEGIN RSA PRIVATE KEY-----",
    "PyPI": "pypi-AgEIcHlwaS5vcmc" + A * 7,
    "SendGrid": "SG." + (A * 3)[:22] + "." + (A * 5)[:43],
    "Slack": "xoxb-1-a",
    "Slack webhook": "https://hooks.slack.com/services/T1/B1/a",
    "Square": "sq0csp-" + (A * 5)[:43],
    "Stripe": "sk_live_" + (A * 3)[:24],
    "Twilio": "AC" + "0123456789abcdef" * 2,
    "mail": "jane.doe@corp-mail.de",
    "IPv4": "8.8.8.8",
    "IPv6": "2001:4860:4860::8888",
}


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("place", ["x = [\n  '{}',\n]\n", "{}", "\n# {} is old\n"])
def test_a_planted_key_is_hidden(name: str, place: str) -> None:
    key = KEYS[name]
    text = place.format(key)
    hidden = mask(text)
    assert len(hidden) == len(text)
    secret = {"AWS secret": A * 4, "private key": "PRIVATE KEY", "npm": "npm_xyz"}.get(name, key)
    parts = [secret[start : start + 6] for start in range(len(secret) - 5)]
    assert not [part for part in parts if part in hidden]
    if "[" in place:
        assert hidden.startswith("x = [\n")
        assert hidden.endswith("]\n" if name == "private key" else "\n]\n")


def test_each_detector_has_a_planted_key() -> None:
    unused = [p.pattern for p in key_patterns() if not any(map(p.search, KEYS.values()))]
    rare = ("glcbt", "glimt", "glptt", "glagent", "gloas", "AgENdGVzd", "SK[a-z0-9]", "PRIVATE")
    assert [p for p in unused if not any(part in p for part in (*rare, "PuTTY"))] == []


@pytest.mark.parametrize("end", ["-----END RSA PRIVATE KEY-----\n", ""])
def test_all_lines_of_a_private_key_are_hidden(end: str) -> None:
    body = "Proc-Type: 4,ENCRYPTED\n\n" + (A * 6 + "ab+/\n") * 3 + "c3==\n"
    text = f"KEY = '''-----BEGIN RSA PRIVATE KEY-----\n{body}{end}'''\n" + "code_after(_x)\n"
    hidden = mask(text)
    assert "Proc" not in hidden
    assert "c3==" not in hidden
    assert "(_x)" in hidden


def test_a_putty_key_is_hidden() -> None:
    text = "PuTTY-User-Key-File-2: ssh-rsa\nEncryption: none\nAAAAB3NzaC1\nx_y = 1\n"
    assert mask(text).strip("\0\n") == "_y = 1"


@pytest.mark.parametrize(
    "text",
    [
        "version = 1.2.3  # 127.0.0.1 and 10.0.0.1, me@example.com\n",
        "@decorator\ndef a_function_with_a_long_name_of_words(value): ...\n",
        "-" * 79 + "\n" + "=" * 79 + "\n",
        "commit = 'e1502c0cdbfd17548c612f25d5a65b1e4b8aaaaa'; a[::2]; std::vector\n",
    ],
)
def test_ordinary_code_stays(text: str) -> None:
    assert mask(text) == text


def test_a_key_is_found_in_every_part_of_a_long_text() -> None:
    line = "value = other + 1\n"
    for count in (0, 443, 444, 445, 2000):
        text = line * count + KEYS["GitHub"] + "\n" + line * 1000
        hidden = mask(text)
        assert hidden == line * count + "\0" * len(KEYS["GitHub"]) + "\n" + line * 1000


def test_a_very_long_line_is_hidden_and_the_lines_around_it_stay() -> None:
    text = "a = 1\n" + "x" * 1_000_000 + "\nb = 2\n" + "y " * (MAX_LINE_CHARACTERS // 2)
    hidden = mask(text)
    assert hidden.replace("\0", "") == text.replace("x" * 1_000_000 + "\n", "")
    assert len(hidden) == len(text)


def test_the_rest_of_a_word_with_a_key_is_hidden() -> None:
    assert mask(f"x = {KEYS['GitHub']}Zz9_q + y\n").replace("\0", "") == "x =  + y\n"
