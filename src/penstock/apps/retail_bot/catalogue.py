"""What the demo shop sells: Tarnholt, outdoor and home. All of it is invented."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

__all__ = ["CATALOGUE", "INTERESTS", "Kind"]


class Kind(NamedTuple):
    """One product as it is planned. euros: of its cheapest variant. goes_with: names of what people buy along with it."""

    name: str
    category: str
    euros: int
    options: Mapping[str, Sequence[str]]
    goes_with: Sequence[str] = ()


COLOURS = ("forest green", "slate grey", "sand", "navy blue", "rust red")
SIZES = ("S", "M", "L", "XL")
SHOES = ("37", "39", "41", "43", "45")

CATALOGUE: tuple[Kind, ...] = (
    # ---- tents and sleeping
    Kind("Orrin dome tent", "Tents and sleeping", 189, {"size": ("2 persons", "3 persons", "4 persons"), "colour": COLOURS[:2]},
         ("Peat sleeping mat", "Orrin groundsheet", "Moth camp lantern")),
    Kind("Hessle tunnel tent", "Tents and sleeping", 329, {"size": ("4 persons", "6 persons"), "colour": COLOURS[:3]},
         ("Rowan camp bed", "Kettlewick cookware set", "Firn cool box")),
    Kind("Orrin groundsheet", "Tents and sleeping", 29, {"size": ("2 persons", "3 persons", "4 persons")}),
    Kind("Lindow tarp", "Tents and sleeping", 59, {"size": ("3 x 3 m", "3 x 4 m", "4 x 5 m"), "colour": ("olive", "orange")},
         ("Sallow hammock",)),
    Kind("Merrow down sleeping bag", "Tents and sleeping", 219,
         {"comfort": ("0 °C", "-5 °C", "-12 °C"), "length": ("185 cm", "205 cm")}, ("Peat sleeping mat", "Merrow bag liner")),
    Kind("Tansy summer sleeping bag", "Tents and sleeping", 69, {"length": ("185 cm", "205 cm"), "colour": COLOURS[1:4]},
         ("Peat sleeping mat", "Merrow bag liner")),
    Kind("Merrow bag liner", "Tents and sleeping", 34, {"material": ("cotton", "silk", "merino wool")}),
    Kind("Peat sleeping mat", "Tents and sleeping", 79, {"thickness": ("3 cm", "5 cm", "8 cm"), "width": ("53 cm", "65 cm")},
         ("Down-to-earth pillow",)),
    Kind("Down-to-earth pillow", "Tents and sleeping", 24, {"colour": COLOURS[:3]}),
    Kind("Rowan camp bed", "Tents and sleeping", 99, {"width": ("70 cm", "80 cm"), "colour": COLOURS[:2]},
         ("Down-to-earth pillow",)),
    # ---- packs and bags
    Kind("Culm trekking backpack", "Packs and bags", 159,
         {"capacity": ("45 l", "55 l", "65 l"), "back length": ("short", "regular", "long")},
         ("Culm rain cover", "Scree hiking boots")),
    Kind("Culm rain cover", "Packs and bags", 19, {"capacity": ("up to 45 l", "up to 65 l"), "colour": ("orange", "grey")}),
    Kind("Finch day pack", "Packs and bags", 64, {"capacity": ("18 l", "24 l"), "colour": COLOURS}, ("Larch vacuum bottle",)),
    Kind("Selkie dry bag", "Packs and bags", 14,
         {"capacity": ("5 l", "10 l", "20 l", "40 l"), "colour": ("blue", "yellow", "black")}),
    Kind("Moorgate travel duffel", "Packs and bags", 89, {"capacity": ("40 l", "70 l", "100 l"), "colour": COLOURS[1:4]}),
    Kind("Wren hip bag", "Packs and bags", 29, {"colour": COLOURS}),
    # ---- footwear
    Kind("Scree hiking boots", "Footwear", 169, {"size": SHOES, "colour": ("brown", "grey")},
         ("Tuft hiking socks", "Bract gaiters")),
    Kind("Gully trail shoes", "Footwear", 119, {"size": SHOES, "colour": ("blue", "black")}, ("Tuft hiking socks",)),
    Kind("Sluice rubber boots", "Footwear", 49, {"size": SHOES, "colour": ("green", "yellow")}, ("Dibble hand tool set",)),
    Kind("Hearth felt slippers", "Footwear", 39, {"size": SHOES, "colour": ("grey", "red")}, ("Eider wool blanket",)),
    Kind("Tuft hiking socks", "Footwear", 18, {"size": ("36-38", "39-41", "42-44", "45-47"), "height": ("ankle", "calf")}),
    Kind("Bract gaiters", "Footwear", 34, {"size": ("S", "M", "L")}),
    # ---- clothing
    Kind("Squall rain jacket", "Clothing", 149, {"size": SIZES, "colour": ("navy blue", "yellow", "black")},
         ("Squall rain trousers",)),
    Kind("Squall rain trousers", "Clothing", 89, {"size": SIZES, "colour": ("black",)}),
    Kind("Burr fleece jacket", "Clothing", 79, {"size": SIZES, "colour": COLOURS[:3]}, ("Bobbin wool hat",)),
    Kind("Heddle merino shirt", "Clothing", 64, {"size": SIZES, "sleeve": ("short", "long")}, ("Fenland trekking trousers",)),
    Kind("Fenland trekking trousers", "Clothing", 94, {"size": SIZES, "leg": ("regular", "zip-off")},
         ("Heddle merino shirt",)),
    Kind("Bobbin wool hat", "Clothing", 24, {"colour": COLOURS}, ("Rime gloves",)),
    Kind("Rime gloves", "Clothing", 32, {"size": ("S", "M", "L"), "colour": ("black", "grey")}),
    # ---- camp kitchen
    Kind("Ember gas stove", "Camp kitchen", 54, {"burners": ("one", "two"), "ignition": ("match", "piezo")},
         ("Kettlewick cookware set", "Tinker camp mug")),
    Kind("Kettlewick cookware set", "Camp kitchen", 49, {"size": ("1 person", "2 persons", "4 persons"),
         "material": ("aluminium", "steel", "titanium")}, ("Trio cutlery set", "Tinker camp mug")),
    Kind("Larch vacuum bottle", "Camp kitchen", 29, {"capacity": ("500 ml", "750 ml", "1 l"), "colour": COLOURS[:4]}),
    Kind("Tinker camp mug", "Camp kitchen", 12, {"capacity": ("300 ml", "450 ml"), "material": ("enamel", "steel")}),
    Kind("Rill water filter", "Camp kitchen", 44, {"capacity": ("1 l", "2 l", "6 l")}),
    Kind("Firn cool box", "Camp kitchen", 74, {"capacity": ("15 l", "25 l", "45 l"), "colour": ("white", "green")}),
    Kind("Trio cutlery set", "Camp kitchen", 16, {"material": ("steel", "titanium", "bamboo")}),
    # ---- lamps
    Kind("Glim headlamp", "Lamps", 39, {"brightness": ("250 lm", "450 lm", "800 lm"), "colour": ("black", "orange")}),
    Kind("Moth camp lantern", "Lamps", 34, {"power": ("battery", "solar"), "colour": ("white", "green")}),
    Kind("Alder table lamp", "Lamps", 69, {"material": ("oak", "walnut", "ash"), "shade": ("linen", "paper")},
         ("Alder floor lamp",)),
    Kind("Alder floor lamp", "Lamps", 139, {"material": ("oak", "walnut", "ash"), "shade": ("linen", "paper")}),
    Kind("Gloam fairy lights", "Lamps", 19, {"length": ("5 m", "10 m", "20 m"), "power": ("mains", "solar")},
         ("Bower garden chair",)),
    # ---- kitchen
    Kind("Quern coffee grinder", "Kitchen", 84, {"material": ("steel", "beech"), "capacity": ("25 g", "40 g")},
         ("Drizzle coffee dripper", "Plume kettle")),
    Kind("Drizzle coffee dripper", "Kitchen", 24, {"size": ("1-2 cups", "3-4 cups"), "material": ("ceramic", "glass")},
         ("Plume kettle", "Larder storage jars")),
    Kind("Plume kettle", "Kitchen", 59, {"capacity": ("0.8 l", "1.2 l"), "colour": ("black", "white", "copper")}),
    Kind("Anvil cast iron pan", "Kitchen", 64, {"diameter": ("20 cm", "24 cm", "28 cm")},
         ("Plank chopping board", "Hob oven mitts")),
    Kind("Plank chopping board", "Kitchen", 34, {"material": ("oak", "beech", "olive wood"), "size": ("small", "large")}),
    Kind("Larder storage jars", "Kitchen", 29, {"capacity": ("0.5 l", "1 l", "2 l"), "lid": ("cork", "beech")}),
    Kind("Hob oven mitts", "Kitchen", 17, {"colour": COLOURS[:4]}),
    # ---- bed and bath
    Kind("Cloudberry duvet", "Bed and bath", 119, {"size": ("135 x 200 cm", "155 x 220 cm", "200 x 220 cm"),
         "warmth": ("summer", "all seasons")}, ("Skein bed linen", "Cloudberry pillow")),
    Kind("Cloudberry pillow", "Bed and bath", 49, {"size": ("40 x 80 cm", "80 x 80 cm"), "firmness": ("soft", "firm")}),
    Kind("Skein bed linen", "Bed and bath", 79, {"size": ("135 x 200 cm", "155 x 220 cm", "200 x 220 cm"),
         "material": ("cotton", "linen")}, ("Cloudberry pillow",)),
    Kind("Eider wool blanket", "Bed and bath", 94, {"size": ("130 x 180 cm", "150 x 200 cm"), "colour": COLOURS[:4]}),
    Kind("Lather bath towel", "Bed and bath", 24, {"size": ("50 x 100 cm", "70 x 140 cm"), "colour": COLOURS},
         ("Lather bathrobe",)),
    Kind("Lather bathrobe", "Bed and bath", 69, {"size": SIZES, "colour": ("white", "grey")}),
    # ---- garden
    Kind("Dibble hand tool set", "Garden", 39, {"material": ("steel", "stainless steel"), "handle": ("ash", "rubber")},
         ("Trough raised bed", "Spout watering can")),
    Kind("Trough raised bed", "Garden", 109, {"size": ("80 x 40 cm", "120 x 60 cm", "180 x 80 cm"), "material": ("larch", "steel")},
         ("Dibble hand tool set", "Spout watering can")),
    Kind("Spout watering can", "Garden", 27, {"capacity": ("5 l", "9 l"), "colour": ("green", "zinc")}),
    Kind("Bower garden chair", "Garden", 89, {"material": ("acacia", "steel"), "colour": ("natural", "white", "green")},
         ("Bower garden table", "Gloam fairy lights")),
    Kind("Bower garden table", "Garden", 189,
         {"size": ("70 x 70 cm", "120 x 70 cm", "160 x 80 cm"), "material": ("acacia", "steel")}),
    Kind("Sallow hammock", "Garden", 59, {"size": ("one person", "two persons"), "colour": COLOURS[:3]}),
    # ---- cycling
    Kind("Pinion bicycle helmet", "Cycling", 79, {"size": ("S", "M", "L"), "colour": ("white", "black", "blue")},
         ("Flare light set",)),
    Kind("Flare light set", "Cycling", 36, {"brightness": ("30 lux", "60 lux", "90 lux")}),
    Kind("Dray bicycle pannier", "Cycling", 74, {"capacity": ("15 l", "20 l", "25 l"), "colour": COLOURS[:3]},
         ("Clasp bicycle lock",)),
    Kind("Clasp bicycle lock", "Cycling", 49, {"length": ("85 cm", "110 cm"), "closure": ("key", "code")}),
    Kind("Gust floor pump", "Cycling", 34, {"valve": ("standard", "all valves"), "colour": ("black", "red")},
         ("Tappet multi-tool",)),
    Kind("Tappet multi-tool", "Cycling", 27, {"functions": ("10", "16", "22")}),
    # ---- home office
    Kind("Perch desk chair", "Home office", 249,
         {"armrests": ("without", "fixed", "adjustable"), "colour": ("black", "grey", "green")},
         ("Trestle standing desk",)),
    Kind("Trestle standing desk", "Home office", 379,
         {"width": ("120 cm", "140 cm", "160 cm"), "material": ("oak", "white laminate")},
         ("Perch desk chair", "Crane monitor arm", "Blotter desk mat")),
    Kind("Crane monitor arm", "Home office", 89, {"screens": ("one", "two"), "colour": ("black", "white")}),
    Kind("Blotter desk mat", "Home office", 32, {"material": ("felt", "cork", "leather"), "size": ("60 x 30 cm", "80 x 40 cm")}),
    Kind("Rung wall shelf", "Home office", 54, {"width": ("60 cm", "90 cm"), "material": ("oak", "walnut")},
         ("Alder table lamp",)),
)  # fmt: skip

INTERESTS: dict[str, tuple[str, ...]] = {
    "hiking": ("Footwear", "Clothing", "Packs and bags"),
    "camping": ("Tents and sleeping", "Camp kitchen", "Lamps"),
    "cycling": ("Cycling", "Clothing", "Packs and bags"),
    "cooking": ("Kitchen", "Camp kitchen"),
    "garden": ("Garden", "Footwear", "Lamps"),
    "home": ("Bed and bath", "Kitchen", "Lamps"),
    "work": ("Home office", "Lamps", "Packs and bags"),
}
