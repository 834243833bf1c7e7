"""The vocabulary that sample records are drawn from.

Names, places and titles carry accents, other scripts, quotes, backslashes and line breaks on
purpose: a lake has to carry them unchanged.
"""

from typing import NamedTuple


class Place(NamedTuple):
    """A town as both sources describe it; latitude and longitude are decimal degrees."""

    city: str
    region: str
    country: str
    country_code: str
    zip_code: str
    timezone: str
    latitude: str
    longitude: str


class Product(NamedTuple):
    """Something the sample shop sells; price in cents, weight in grams."""

    title: str
    variant: str
    vendor: str
    price_cents: int
    grams: int


FIRST_NAMES = (
    "Aino",
    "Björk",
    "Chloé",
    "Dmitrij",
    "Élodie",
    "Fatima",
    "Grace",
    "Hana",
    "İpek",
    "José",
    "Kofi",
    "Linh",
    "Łucja",
    "Mei",
    "Noah",
    "Olu",
    "Priya",
    'Robert "Bob"',
    "Siân",
    "Tom",
    "Уляна",
    "Zoë",
    "小明",
)
LAST_NAMES = (
    "Nguyễn",
    "O'Brien",
    "Müller",
    "D'Angelo",
    "van der Berg",
    "García",
    "Kowalski",
    "Smith",
    "Sørensen",
    "Öztürk",
    "Шевченко",
    "Haddad",
    "李",
    "Okafor",
    "Dvořák",
    "Lindqvist",
    "Silva e Souza",
)
PLACES = (
    Place("Zürich", "Zürich", "Switzerland", "CH", "8001", "Europe/Zurich", "47.3769", "8.5417"),
    Place("Hà Nội", "Hà Nội", "Vietnam", "VN", "100000", "Asia/Ho_Chi_Minh", "21.0278", "105.8342"),
    Place(
        "København", "Hovedstaden", "Denmark", "DK", "1050", "Europe/Copenhagen", "55.68", "12.57"
    ),
    Place(
        "St. John's",
        "Newfoundland",
        "Canada",
        "CA",
        "A1A 1A1",
        "America/St_Johns",
        "47.56",
        "-52.71",
    ),
    Place(
        "São Paulo", "SP", "Brazil", "BR", "01310-100", "America/Sao_Paulo", "-23.5505", "-46.6333"
    ),
    Place(
        "Leeds", "England", "United Kingdom", "GB", "LS1 4AP", "Europe/London", "53.8008", "-1.5491"
    ),
    Place("京都市", "京都府", "Japan", "JP", "600-8216", "Asia/Tokyo", "35.0116", "135.7681"),
    Place(
        "Austin", "Texas", "United States", "US", "78701", "America/Chicago", "30.2672", "-97.7431"
    ),
)
STREETS = ("Lotusweg", "Rue de l'Étang", "Pond Lane", "Calle del Lirio", "Hồ Tây", "蓮池通り")
PRODUCTS = (
    Product("Lotus tea", "100 g", "Pond & Co", 1290, 130),
    Product("Lotus tea", "250 g", "Pond & Co", 2790, 290),
    Product("Teapot “Nénuphar”", "0.8 l", "Atelier Étang", 5990, 940),
    Product('Bamboo tray 12"', "natural", "Atelier Étang", 3450, 610),
    Product("Silk scarf", "rosé", "Hồ Tây Silk", 8450, 90),
    Product("Silk scarf", "bleu/vert", "Hồ Tây Silk", 8450, 90),
    Product("Incense, 20 sticks", "sandal \\ cedar", "Pond & Co", 795, 60),
    Product("Watering can", "1.5 l", "Garden Goods", 2499, 480),
)
DISCOUNT_RATES = ("0", "0", "0", "0", "0.1", "0.15", "0.2")
SHIPPING_CENTS = (0, 0, 495, 495, 990, 1450)
TAX_RATES = ("0.07", "0.081", "0.19", "0.2")
CANCEL_REASONS = ("customer", "inventory", "fraud", "declined", "other")
CUSTOMER_TAGS = (
    "",
    "newsletter",
    'vip, "gold"',
    "wholesale, net-30",
    "b2b, 100% organic",
    "Stammkunde, Grüße",
)
CAMPAIGN_NAMES = (
    "Spring at the lake 🌸",
    "Été : -20 % sur tout",
    'The "last call"',
    "Tết 2026: chúc mừng năm mới",
    "Win back\nsecond try",
    "Members' preview",
    "Nur für dich, größer als je",
    "Restock: silk scarves",
)
FLOW_NAMES = ("Welcome series", "Abandoned cart", "Post-purchase ♥", "Browse abandonment", "Sunset")
FLOW_TRIGGERS = ("Added to List", "Metric", "Date Based", "Price Drop")
LIST_NAMES = (
    "Newsletter",
    "SMS België/Belgique",
    "VIP's",
    "Giveaway 2026",
    "B2B",
    'Tagged "tea"',
)
METRIC_NAMES = (
    "Placed Order",
    "Ordered Product",
    "Opened Email",
    "Clicked Email",
    "Active on Site",
    "Viewed Product",
    "Added to Cart",
    "Checkout Started",
    "Refunded Order",
    "Received SMS",
)
SUBJECTS = ("Your pond awaits…", "It's back!", 'A "quiet" sale', "Chào bạn 👋", "C:\\tea\\offers")
