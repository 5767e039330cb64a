"""The support bot of the demo shop. For your own shop change `bot`: an adapter of yours, `SqlShop` over your tables, or `RestShop`.
Codes are sent by the mail server that SHOP_SMTP_HOST names; without one they are files in the home folder's `outbox`."""

from __future__ import annotations

import os
import sys
from datetime import date

from penstock.agents.sign_in import ByMail, Mailer, ToFolder
from penstock.assemble import House
from penstock.config import ChannelSettings, Secret

from .abilities import RetailBot
from .demo import demo_shop, somebody
from .desk import Desk
from .sign_in import CustomerSignIn
from .sql import SqlShop

__all__ = ["bot", "mailer"]


def mailer(house: House) -> Mailer:
    if not (host := os.environ.get("SHOP_SMTP_HOST")):
        return ToFolder(house.settings.home_path / "outbox")
    return ByMail(
        ChannelSettings(
            kind="email",
            host=host,
            sender=os.environ.get("SHOP_SMTP_SENDER", f"shop@{host}"),
            user=os.environ.get("SHOP_SMTP_USER", ""),
            password=Secret(os.environ.get("SHOP_SMTP_PASSWORD", "")),
        )
    )


def introduce(shop: SqlShop, house: House) -> None:
    """Say whom to be, once for all processes that serve together. Codes that go out by mail reach nobody invented."""
    if house.worker or (who := somebody(shop, today=date.today())) is None:
        return
    by_mail = os.environ.get("SHOP_SMTP_HOST")
    code = "" if by_mail else f"as {who.email} (codes are written to {house.settings.home_path / 'outbox'}), or "
    print(
        f"Demo customers: sign in {code}with the name {who.first_name} {who.last_name} and the postcode {who.address.postcode}.\n"
        "They have an order that can be cancelled, and others to ask about.",
        file=sys.stderr,
    )


def bot(house: House) -> RetailBot:
    shop = demo_shop(house.settings.home_path / "shop.db")
    introduce(shop, house)
    sign_in = CustomerSignIn.by_mail(shop, house.database, lambda: house.envelope.secret("", "sign-in"), mailer(house))
    return RetailBot(Desk(shop), sign_in, shop.histories)
