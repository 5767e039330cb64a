"""The support bot of the demo shop. For your own shop change `bot`: an adapter of yours, `SqlShop` over your tables, or `RestShop`.
Codes are sent by the mail server that SHOP_SMTP_HOST names; without one they are files in the home folder's `outbox`."""

from __future__ import annotations

import os

from penstock.agents.sign_in import ByMail, Mailer, ToFolder
from penstock.assemble import House
from penstock.config import ChannelSettings, Secret

from .abilities import RetailBot
from .demo import demo_shop
from .desk import Desk
from .sign_in import CustomerSignIn

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


def bot(house: House) -> RetailBot:
    shop = demo_shop(house.settings.home_path / "shop.db")
    sign_in = CustomerSignIn.by_mail(shop, house.database, lambda: house.envelope.secret("", "sign-in"), mailer(house))
    return RetailBot(Desk(shop), sign_in, shop.histories)
