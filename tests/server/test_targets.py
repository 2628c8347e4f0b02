import pytest

from happyhorse.errors import ConfigError
from happyhorse.server.targets import ConnectionPolicy, FetchError, target_of

POLICY = ConnectionPolicy(hosts=("media.example.com", ".bucket.example", "8.8.8.8", "2001:4860::1"))


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "authority"),
    [
        ("https://media.example.com/a.png", "media.example.com", 443, "/a.png", "media.example.com"),
        ("HTTPS://MEDIA.example.COM./a?b=c&d#e", "media.example.com", 443, "/a?b=c&d", "media.example.com"),
        ("https://media.example.com", "media.example.com", 443, "/", "media.example.com"),
        ("https://media.example.com:80?x", "media.example.com", 80, "/?x", "media.example.com:80"),
        ("https://a.b.bucket.example/%20", "a.b.bucket.example", 443, "/%20", "a.b.bucket.example"),
        ("https://8.8.8.8/", "8.8.8.8", 443, "/", "8.8.8.8"),
        ("https://[2001:4860:0::1]/", "2001:4860:0::1", 443, "/", "[2001:4860:0::1]"),
    ],
)
def test_a_url_that_is_on_the_lists(url, host, port, path, authority):
    target = target_of(url, POLICY)
    assert (target.host, target.port, target.path, target.authority) == (host, port, path, authority)


def test_nothing_is_reached_unless_it_is_listed():
    with pytest.raises(FetchError, match="media.example.com is not among the hosts.*it reaches none"):
        target_of("https://media.example.com/", ConnectionPolicy())


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/",
        "https://xmedia.example.com/",
        "https://media.example.com.evil.test/",
        "https://bucket.example/",
        "https://evilbucket.example/",
        "https://8.8.8.9/",
        "https://[2001:4860::2]/",
    ],
)
def test_hosts_that_look_like_listed_ones(url):
    with pytest.raises(FetchError, match="not among the hosts.*media.example.com"):
        target_of(url, POLICY)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://media.example.com/", "scheme 'http'.*it reaches https"),
        ("ftp://media.example.com/", "scheme 'ftp'"),
        ("file:///etc/passwd", "scheme 'file'"),
        ("gopher://media.example.com/", "scheme 'gopher'"),
        ("media.example.com/a.png", "scheme 'none'"),
        ("//media.example.com/a.png", "scheme 'none'"),
        ("", "characters"),
        ("https://user:pass@media.example.com/", "user name or password"),
        ("https://user@media.example.com/", "user name or password"),
        ("https://media.example.com@evil.test/", "user name or password"),
        ("https://@media.example.com/", "user name or password"),
        ("https://media.example.com:22/", "port 22 is not reached; it reaches 80, 443"),
        ("https://media.example.com:0/", "port 0"),
        ("https://media.example.com:99999/", "cannot be read"),
        ("https://media.example.com:a/", "cannot be read"),
        ("https://[::1/", "cannot be read"),
        ("https://media.example.com\\@evil.test/", "characters"),
        ("https://media.example.com/\r\nHost: evil", "characters"),
        ("https://media.example.com/\x00", "characters"),
        (" https://media.example.com/", "characters"),
        ("https://media.exam\tple.com/", "characters"),
        ("https://mediа.example.com/", "characters"),  # the a is Cyrillic
        ("https://media。example。com/", "characters"),
        ("https://media%2eexample.com/", "not the name of a host"),
        ("https:///a.png", "not the name of a host"),
        ("https://-media.example.com/", "not the name of a host"),
        ("https://media..example.com/", "not the name of a host"),
        ("https://" + "a." * 200 + "bucket.example/", "not the name of a host"),
        ("https://[fe80::1%25eth0]/", "not the name of a host"),
        ("https://media.example.com/" + "a" * 2048, "2074 characters; the limit is 2048"),
    ],
)
def test_what_is_refused_and_how_it_is_said(url, says):
    with pytest.raises(FetchError, match=says):
        target_of(url, POLICY)


SPELLINGS = [
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "017700000001",
    "127.1",
    "127.0.1",
    "1.2.3.4.5",
    "0x",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_other_spellings_of_addresses_are_refused_though_they_are_listed(spelling):
    policy = ConnectionPolicy(hosts=(spelling, "." + spelling.rpartition(".")[2]))
    for host in (spelling, spelling.upper(), spelling + "."):
        with pytest.raises(FetchError, match="no address that is taken"):
            target_of(f"https://{host}/", policy)


def test_a_suffix_is_for_names_only():
    with pytest.raises(FetchError, match="not among the hosts"):
        target_of("https://127.0.0.1/", ConnectionPolicy(hosts=(".0.0.1",)))


def test_listed_hosts_may_have_capitals_and_addresses_any_plain_form():
    policy = ConnectionPolicy(hosts=("Media.Example.COM", "0:0::1"))
    assert target_of("https://media.example.com/", policy).host == "media.example.com"
    assert target_of("https://[::1]/", policy).host == "::1"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hosts": ("*.example.com",)}, "write media.example.com, or .example.com"),
        ({"hosts": ("https://example.com",)}, "is no host"),
        ({"hosts": ("",)}, "is no host"),
        ({"schemes": ("https", "file")}, "only http and https"),
        ({"networks": ("10.0.0.1/8",)}, "10.1.0.0/16"),
        ({"networks": ("here",)}, "10.1.0.0/16"),
    ],
)
def test_a_policy_that_says_something_else_than_it_seems(change, says):
    with pytest.raises(ConfigError, match=says):
        POLICY.replace(**change)
