"""A link whose text shows another host than it leads to says where it leads."""

import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gatewayd.kit.hosts import ascii_host, unshown_host
from gatewayd.kit.html import markdown_to_html

LABELS = st.sampled_from(["good", "bank", "a-1", "xn--mnchen-3ya", "münchen", "例え", "пример", "0x7f"]) | st.text(
    "abcxyz019", min_size=1
)
HOSTS = st.builds(
    lambda labels, top: ".".join([*labels, top]),
    st.lists(LABELS, min_size=1, max_size=3),
    st.sampled_from(["example", "de", "рф", "テスト"]),
)
# Ways in which a text shows a host.
DISGUISES = (
    *("{0}", "https://{0}", "HTTP://{0}/path?q#f", "see {0}, now", "({0})", "“{0}”", "**{0}**", "`{0}`", "//{0}/"),
    *(
        "https://{1}@{0}/",
        "https://{0}@{1}/",
        "user@{0}",
        "{0}:443",
        "{0}.",
        "\u202a{0}\u202c",
        "\u200b{0}\u2060",
        "https://{1}/ {0}",
    ),
)
SIGNS = str.maketrans(".abc", "\u3002ａｂｃ")
BIDI = "\u202e\u2066\u200f\u061c"


def written_behind(markdown: str) -> str | None:
    """What stands behind the only link."""
    html = markdown_to_html(markdown)
    assert html.count("<a ") == 1, html
    found = re.search(r"</a> \(<bdi>(.*?)</bdi>\)", html)
    return found and found[1]


@given(HOSTS, HOSTS, st.sampled_from(DISGUISES), st.booleans())
def test_another_host_in_the_text_is_told(shown: str, real: str, disguise: str, wide: bool) -> None:
    assume(ascii_host(shown).removeprefix("www.") != ascii_host(real).removeprefix("www."))
    text = disguise.format(shown.translate(SIGNS) if wide else shown, real)
    assert written_behind(f"[{text}](https://{real}/x)") == ascii_host(real), text


@given(
    HOSTS.filter(str.isascii),
    st.sampled_from(["{0}", "https://{0}", "https://{0}/a.b.html?u=c.example", "see {0}!", "{0}:80/", "www.{0}", "{0}."]),
)
def test_its_own_host_is_not_told_again(host: str, text: str) -> None:
    assume("xn--" not in host)
    assert written_behind(f"[{text.format(host)}](https://{host}/)") is None


@given(
    HOSTS,
    HOSTS,
    st.sampled_from(["http://{0}@{1}/", "https://{0}:80@{1}", "https://{0}%2f@{1}/x", "https://a@{0}@{1}/", "HTTPS:///{1}/{0}"]),
)
def test_what_stands_before_an_at_sign_is_no_host(shown: str, real: str, form: str) -> None:
    url = form.format(shown, real)
    assert unshown_host(url, f"https://{shown}/") in (
        ascii_host(real),
        None if ascii_host(shown) == ascii_host(real) else ascii_host(real),
    )
    if "@" in url:
        assert unshown_host(url, url) == ascii_host(real)


@given(HOSTS, st.text(max_size=8), st.sampled_from(BIDI), st.text(max_size=8))
def test_a_text_that_is_turned_round_tells_its_host(host: str, before: str, sign: str, after: str) -> None:
    assert unshown_host(f"https://{host}/", before + sign + after) == ascii_host(host)


@given(st.text("abc xyz,;!?-", max_size=30))
def test_words_are_no_hosts(words: str) -> None:
    assert unshown_host("https://a.example/", words) is None


@example("https://[::1", "a.b")
@example("https://%", "//")
@example("mailto:", "a@b.example")
@example("https://a.example", "." * 70_000)
@example("https://a.example", "a" * 70_000)
@given(st.text(max_size=40) | st.text("htps:/\\@.[]%?#a1\u202e ", max_size=40), st.text(max_size=40))
def test_whatever_it_is_given_it_answers(url: str, shown: str) -> None:
    unshown_host(url, shown)


@pytest.mark.parametrize(
    ("url", "shown", "told"),
    [
        ("https:\\\\evil.example\\@good.example", "good.example", "evil.example"),
        ("https://%65vil.example/", "good.example", "evil.example"),
        ("https://evil\u3002example/", "evil.example", None),
        ("https://e\u00advil.example/", "evil.example", None),
        ("https://good.example.evil.example/", "https://good.example", "good.example.evil.example"),
        ("https://\u0430pple.com/", "\u0430pple.com", "xn--pple-43d.com"),
        ("https://\u0430pple.com/", "apple.com", "xn--pple-43d.com"),
        ("http://intern/", "http://localhost/", "intern"),
        ("http://[::1]:80/", "http://[::1]:80/", None),
        ("http://5.6.7.8/", "1.2.3.4", "5.6.7.8"),
        ("https://a.example/", "version 2.0, e.g. of 1.2.3", None),
        ("mailto:a@good.example", "a@good.example", None),
        ("mailto:b@evil.example?subject=x", "a@good.example", "b@evil.example"),
        ("mailto:a%40evil.example", "a@good.example", "a@evil.example"),
    ],
)
def test_addresses_are_read_as_browsers_read_them(url: str, shown: str, told: str | None) -> None:
    assert unshown_host(url, shown) == told


@pytest.mark.parametrize(
    "link",
    [
        "https://good.example@evil.example/",
        "<https://good.example@evil.example/>",
        "![good.example](https://evil.example/x.png)",
        "[![good.example](https://good.example)](https://evil.example)",
        "[home](https://evil.example 'https://good.example')",
        "[good.ex*ample*](https://evil.example)",
    ],
)
def test_every_kind_of_link_is_looked_at(link: str) -> None:
    assert written_behind(link) == "evil.example"
