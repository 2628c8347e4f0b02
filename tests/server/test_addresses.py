from ipaddress import ip_address, ip_network

import pytest

from happyhorse.server.addresses import is_permitted, is_public, reached, read_address

CLOSED = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",  # a cloud's metadata
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",  # a cloud's host agent
    "169.254.169.254",  # metadata
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",  # metadata
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",  # v4-compatible, long deprecated
    "::ffff:0:127.0.0.1",  # v4-translated
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::127.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::8.8.8.8",  # NAT64 of somebody's own network
    "100::1",
    "2001::1",  # Teredo
    "2001:0:7f00:1::",
    "2001:10::1",
    "2001:db8::1",
    "2002:7f00:1::1",  # 6to4 of 127.0.0.1
    "2002:808:808::1",  # and of a public address: nobody needs it
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",  # metadata
    "fd20:ce::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]
OPEN = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "169.253.0.1",
    "169.255.0.1",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "192.169.0.0",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2606:4700::1111",
    "2a00:1450:4001::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
]


@pytest.mark.parametrize("text", CLOSED)
def test_addresses_that_are_not_everybodys(text):
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", OPEN)
def test_addresses_of_the_open_internet(text):
    assert is_public(ip_address(text))


@pytest.mark.parametrize("form", ["::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "10.1.2.3"])
def test_an_operator_opens_a_network_in_every_form_of_its_addresses(form):
    address = ip_address(form)
    assert reached(address) == ip_address("10.1.2.3")
    assert is_permitted(address, [ip_network("10.1.0.0/16")])
    assert not is_permitted(address, [ip_network("10.2.0.0/16"), ip_network("fd00::/8")])
    assert not is_permitted(address, [])


@pytest.mark.parametrize(
    "text",
    ["2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "127.1", "127.0.1", "127.0.0.1.", ""],
)
def test_numbers_in_other_spellings_are_no_addresses(text):
    assert read_address(text) is None


@pytest.mark.parametrize(
    "text", [" 127.0.0.1", "fe80::1%eth0", "::1%lo", "[::1]", "localhost", "127。0。0。1", "１２７.0.0.1"]
)
def test_only_plain_spellings_are_addresses(text):
    assert read_address(text) is None


def test_an_address_is_read():
    assert read_address("127.0.0.1") == ip_address("127.0.0.1")
    assert read_address("0:0:0:0:0:0:0:1") == ip_address("::1")
