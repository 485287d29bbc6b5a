"""Who can reach an address that a command listens on or sends to."""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address, as numbers or as a name."""
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"
