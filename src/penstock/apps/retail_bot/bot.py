"""The support bot of the demo shop. For your own shop change `shop`: an adapter of yours, `SqlShop` over your tables, or `RestShop`.
For real mail set SHOP_SMTP_HOST and SHOP_SMTP_SENDER, and SHOP_SMTP_USER and SHOP_SMTP_PASSWORD where the server wants them."""

from __future__ import annotations

import os

from penstock.apps.retail_bot.abilities import RetailBot, retail_bot
from penstock.apps.retail_bot.demo import demo_shop
from penstock.apps.retail_bot.desk import Desk
from penstock.apps.retail_bot.mail import Outbox, Smtp
from penstock.apps.retail_bot.sign_in import CustomerSignIn, Mail
from penstock.assemble import House

__all__ = ["bot"]

SHOP_NAME = "Tarnholt"


def mail(house: House) -> Mail:
    """A mail server where one is named; without, the codes stand in files of the home folder, for whoever tries the demo."""
    if host := os.environ.get("SHOP_SMTP_HOST"):
        return Smtp(
            host, os.environ.get("SHOP_SMTP_SENDER", f"shop@{host}"), user=os.environ.get("SHOP_SMTP_USER", ""),
            password=os.environ.get("SHOP_SMTP_PASSWORD", ""),
        )  # fmt: skip
    return Outbox(house.settings.home_path / "outbox")


def bot(house: House) -> RetailBot:
    shop = demo_shop(house.settings.home_path / "shop.db")
    return retail_bot(Desk(shop), CustomerSignIn(shop, house.database, mail(house), SHOP_NAME))
