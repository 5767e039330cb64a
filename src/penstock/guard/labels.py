"""The words that say what a number is, in 17 languages: "Steuer-ID", "phone", "order no.". All are found in one pass.

A label stands before its number ("PESEL: 44051401359") or close behind it ("… is my SSN", "03-1234-5678 まで電話"). Words for
other numbers (orders, invoices, versions) are labels too: they say what a number is not.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple

import re2

__all__ = ["BIRTH", "OTHER", "PERSONAL", "VERSION", "Label", "labels"]

BIRTH: Final = "DATE_OF_BIRTH"
PERSONAL: Final = "PERSONAL"  # some number of a person's; it does not say which
OTHER: Final = "OTHER"
VERSION: Final = "VERSION"

# A space stands for nothing, a space, a dash, an underscore or an apostrophe; an asterisk lets the word go on.
_WORDS: Final[dict[str, str]] = {
    "PHONE_NUMBER": """
        phone*|telephone*|tel|tel no|tel nr|tele|mobile*|mobile no|cell|cellphone*|cell no|cellular|call|called|calls
        calling|call me|callback|call back|fax*|dial*|ring me|ring us|text me|text us|sms|whatsapp*|whats app|telegram
        viber|wechat|signal app|contact no|contact number|contact|contacts|contact us|reach me|reach us|reach him
        reach her|reach them|reached at|reached on|reachable|hotline*|helpline|my number is|our number is|his number is
        her number is|my number|their number is|new number is|number to reach|landline*|switchboard|msisdn|msg me
        voicemail|extension|toll free|ph|mob|phone no|line is|on the line|caller|caller id|emergency contact|pager
        new number|rung|ringing|text|texting|texted|reach you|reached you|answering at|answering on|messages to
        message to|office|desk|registered mobile|direct line|personal line|work line|home line|give me a bell|hit me up
        hmu|my digits|digits are|telefon*|handy|handynummer*|handynr|mobil|mobilnummer*|mobilnr|mobiltelefon*|mobilfunk*
        ruf*an|rufnummer*|rufen sie*|anruf*|anrufen|angerufen|zurückrufen|rückruf*|durchwahl*|festnetz*|telefax*
        erreichbar|erreichen|erreichst du*|neue nummer|meine neue nummer|deine nummer|die nummer|nummer lautet
        meine nummer*|unsere nummer*|ihre nummer*|fon|funk|kontakt*|fernsprecher|anschluss|hotline|téléphone*|téléphon*
        tél|portable*|appelez*|appeler|appelle*|rappeler|rappelez*|rappelle*|joindre|joignable*|joignez*|nouveau numéro
        ton numéro|le numéro|au numéro|mon numéro|mon numero|son numéro|notre numéro|fixe|ligne directe|coordonnées
        contacter|contactez*|numéro vert|télécopie*|composez|composer le|gsm|par sms|teléfono*|telefónic*|tfno|tlf|tlfno
        tfn|móvil*|celular*|llamar*|llame*|llama*|llámen*|llámam*|llámem*|llamada*|contacto|contactar*|nuevo número
        al número|tu número|su número|mi número|nuestro número|localizar*|fijo|comunicarse|comuníquese|telefono*
        telefonic*|cellulare|chiamare|chiama*|chiami*|chiamate*|chiamat*|recapit*|il mio numero|mio numero|contatt*
        contattar*|nuovo numero|al numero|tuo numero|suo numero|rintracciabil*|fisso|numero verde|utenza|telefoon*
        telefonisch|telnr|bel|bellen|belt|gebeld|bel me|bel ons|terugbellen|mobiel*|bereikbaar|bereiken|mijn nummer
        contactnummer*|06 nummer|nieuwe nummer|nieuw nummer|appje|app me|vast nummer|vaste lijn|nummer is|bereik
        telefone*|fone|telemóvel*|telemovel*|ligue*|ligar*|liga*|ligação|ligações|zap|whats|meu número|meu numero
        contato*|contacto*|contactar|novo número|no número|pelo número|contatar|ramal|telefônic*|fixo|recado*
        telefonicz*|komórk*|kom|komórkow*|zadzwo*|dzwoń*|dzwoni*|oddzwo*|mój numer|numer telefonu|infolini*|pod numerem
        pod nr|pod numer|nowy numer|na numer|nr tel|faks*|stacjonarn*|mobil*|ring|ringa|ringer|ringde|nås|nå mig|nå oss
        mitt nummer|vårt nummer|kontakta*|växel|nya nummer|nytt nummer|på nummer|cep|cep tel*|cep no|cep numara*|ara
        arayın*|arayabilir*|ararsanız*|aradı*|arayan*|numaram*|numaralı hat*|numarası|yeni numara*|numarayı|numaradan
        numaraya|iletişim*|gsm no|ulaşabilir*|ulaşın*|ulaşabil*|dahili|santral|beni ara*|hattı*|телефон*|тел|моб
        мобильн*|звон*|позвон*|перезвон*|дозвон*|номер телефона*|сотов*|связ*|мой номер*|факс*|набер*|контакт*
        новый номер|по номеру|номеру|вацап*|ватсап*|вотсап*|смс|доб|هاتف*|تلفون|تليفون*|تلفن|جوال*|موبايل*|محمول*|اتصل*
        اتصال*|الاتصال|للاتصال|يتصل|نتصل|فاكس|واتساب|واتس|رقمي|للتواصل|التواصل|تواصل*|خلوي|نقال|الرقم المباشر|مكالمة
        أتصل|फ़ोन|फोन|मोबाइल|मोबाईल|टेलीफोन|टेलीफ़ोन|दूरभाष|कॉल|काल करें|संपर्क|सम्पर्क|व्हाट्सएप|व्हाट्सऐप|मेरा नंबर
        नंबर पर|नम्बर पर|फैक्स|電話*|携帯*|ケータイ|けいたい|連絡先|ご連絡|連絡|ファックス|ファクス|内線|直通
        お問い合わせ|問い合わせ|代表番号|フリーダイヤル|スマホ|전화*|연락처|연락|휴대폰|휴대전화|핸드폰|핸폰|폰번호|팩스
        통화|문자|내선|콜센터|문의|번호로|电话|電話|手机|手機|联系|聯繫|聯絡|联络|致电|致電|拨打|撥打|来电|來電|号码是
        座机|传真|傳真|热线|熱線|固话|分机|微信|打给|短信
    """,
    "CREDIT_CARD": """
        credit card*|debit card*|card*|card no|card number*|card nr|visa|mastercard|master card|amex|american express
        maestro|diners|discover|pan|cc|ccn|cc number|payment card|kreditkart*|karte*|kartennummer*|debitkart*|ec karte
        carte*|carte bancaire|carte bleue|cb|carte de crédit|tarjeta*|carta di credito|carta*|bancomat|creditcard*
        kaart*|pinpas|betaalkaart*|bankpas|cartão*|cartao*|karta|karty|kartą|kartę|karcie|nr karty|kort|kortnummer*
        kreditkort*|betalkort*|bankkort*|kredi kart*|kart*|banka kart*|кредитн*|карт*|банковск*карт*|بطاقة*|البطاقة
        بطاقتي|क्रेडिट कार्ड|डेबिट कार्ड|कार्ड|カード|クレジット|クレカ|신용카드|카드*|체크카드|信用卡|银行卡|銀行卡
        卡号|卡號|借记卡|刷卡
    """,
    "IBAN_CODE": "iban*",
    "IP_ADDRESS": """
        ip|ipv4|ipv6|ip address*|ip addr*|ipaddress*|ip adresse*|ip adres*|host|hostname|server*|login|logged in|log in
        dns|gateway|ping|ssh|client*|remote addr*|peer|source ip|src|dst|adresse ip|dirección ip|indirizzo ip
        endereço ip|adres ip|ip-адрес*|айпи|عنوان ip|आईपी|ipアドレス|アドレス|아이피|ip地址|地址|firewall|subnet|router
        x forwarded for|connection|connected|anmeldung*|connexion*|conexión*|conexão*|connessione|acceso|accesso
        inloggning|giriş|вход|شبكة|الدخول
    """,
    "MAC_ADDRESS": "mac|mac address*|mac adres*|hwaddr|ether|bssid|adresse mac|dirección mac|indirizzo mac|macアドレス|mac地址",
    "CRYPTO": "bitcoin|btc|wallet|ethereum|eth|usdt|crypto*",
    "US_PASSPORT": """
        passport*|passeport*|reisepass*|pasaporte*|passaport*|paspoort*|paszport*|pasaport*|паспорт*|جواز*|جواز السفر
        पासपोर्ट|パスポート|旅券*|여권*|护照*|護照*
    """,
    BIRTH: """
        date of birth|dateofbirth|birth date*|birthdate*|birthday*|birth day|dob|d o b|born|birth|born on|b day|bday
        geboren*|geb|geb dat*|geburtsdatum*|geburtstag*|geburtsdat*|gebdat|né le|née le|né e le|né en|née en|né à|née à
        né|née|nés|nées|ddn|naissance|anniversaire|date de naiss*|nacid*|nació|nací|nacimiento|f nac|fec nac|fecha nac*
        fecha de nac*|cumpleaños|fdn|nato il|nata il|nato a|nata a|nato nel|nata nel|nato|nata|nato/a|nata/o|nascita
        data nasc*|compleanno|geboortedatum*|geb datum|geboortedag|verjaardag*|gebdatum|nascid*|nasceu|nasci|nascimento
        aniversário*|dt nasc*|niver|urodz*|data ur|dat ur|ur|urodzin*|data urodzenia|född|födda|fött|födelse*
        födelsedatum*|födelsedag*|föddes|doğum*|dogum*|doğdu*|doğumlu*|doğan|d tarihi|родил*|рождения*|рожд|рождён*
        рожден*|г р|д р|др|день рождения*|днем рождения|تاريخ الميلاد|الميلاد|ميلاد*|مواليد|ولدت|وُلد*|وُلدت|ولد
        المولود*|مولود*|تولد|عيد ميلاد*|जन्म|जन्मतिथि|जन्मदिन|जन्मदिवस|पैदा|जन्मे|जन्मी|生年月日|誕生日|生まれ|誕生
        出生日|生日|출생|생년월일|생일|태어|생년|년생|일생|생|出生|出生日期|出生于|出生年月|生于|生於|诞生|誕辰|诞辰
        壽辰|출생일
    """,
    "US_SSN": """
        ssn|ssns|social security|social security number*|social security no|soc sec|my social|social is|social number
        social|socialsecurity*|sozialversicherungsnummer usa|seguro social|numéro de sécurité sociale américain
        ss number|ss no
    """,
    "UK_NINO": "ni|nino|national insurance*|ni number|ni no|ni nr|nin|n i number|national insurance number*",
    "DE_TAX_ID": """
        steuer id*|steuerid*|steuer identifikationsnummer*|steueridentifikationsnummer*|steueridentnummer*|idnr|id nr
        id-nr|steuerliche identifikationsnummer*|steuerliche id*|identifikationsnummer*|steuer idnr|steuer ident*
        steuer-idnr|german tax id*|tax id*|tin|steuer identnr|steueridnr|german tin
    """,
    "FR_NIR": """
        nir|sécurité sociale|numéro de sécurité sociale|n° de sécurité sociale|numéro sécu|num sécu|n° sécu|sécu|insee
        carte vitale|n° ss|no ss|nss|numéro d assuré*|assuré social|french social security*
    """,
    "ES_NIF": "dni|nif|nie|dni nie|documento nacional*|documento de identidad|n i f|d n i|nif nie",
    "IT_FISCAL_CODE": "codice fiscale|cod fisc*|codice fisc*|c f|cf|codfisc*|codicefiscale*",
    "NL_BSN": """
        bsn*|burgerservicenummer*|burger service nummer*|burgerservicenr|sofinummer*|sofi nummer*|sofi
        citizen service number*|persoonsnummer*|bsn nummer
    """,
    "BR_CPF": "cpf|cpf n|cpf mf|cadastro de pessoa*|n° cpf|cpf/mf|cadastro de pessoas físicas",
    "PL_PESEL": "pesel*|nr pesel|numer pesel|peselu|peselem",
    "SE_PERSONNUMMER": """
        personnummer*|personnr|pers nr|persnr|person nr|pnr|samordningsnummer*|swedish personal*|swedish id*|p nr
    """,
    "IN_AADHAAR": "aadhaar*|aadhar*|adhaar*|adhar*|uidai|uid no|uid number|आधार*|आधार संख्या|आधार नंबर|आधार कार्ड",
    "KR_RRN": "주민등록번호|주민번호|주민등록|주민 번호|rrn|resident registration*|외국인등록번호|jumin*|korean id*",
    "CN_ID": """
        身份证*|身分证*|身份證*|身份证号|身份证号码|证件号*|證件號*|居民身份证*|公民身份*|chinese id*|resident id*
        id card no*|resident identity*|证件
    """,
    PERSONAL: """
        national id*|identity number*|identification number*|identity card*|id card*|personal id*|personal number*
        id document|personalausweis*|ausweis*|pièce d identité|carte d identité|identificación|cédula|documento
        numero di identificazione|identificatie*|documento de identificação|identidade|dowód*|id kort|identitet*
        identifiant national|tax number*|tax no|citizen id*|government id*
    """,
    # Numbers of persons and firms that are not looked for, so that they are not taken for another one.
    OTHER: """
        order*|order no|order number*|purchase order|po|po number|p o|invoice*|inv|tracking*|track|shipment*|parcel*|awb
        waybill|consignment|part*|part no|part number*|p n|pn|sku*|isbn*|issn|ean*|upc|gtin*|asin|doi|barcode*|commit*
        revision|rev|serial*|serial no|s n|sn|imei*|meid|iccid|imsi|batch*|lot|lot no|model*|item*|article*|product*
        prod|catalog*|ref|ref no|reference*|ticket*|case|case no|case id|issue|bug|pr|jira|claim*|policy*|policy no
        contract*|customer id*|customer no|customer number*|customernumber*|client id|client no|member id*|member no
        membership*|account no|account number*|acct|acct no|account id|account|routing*|routing no|sort code|swift|bic
        bic code|loan*|student id*|employee id*|employee no|staff no|user id*|userid|uuid|guid|sha|sha1|sha256|md5|hash
        checksum*|etag|digest|request id|req id|session*|session id|trace id|traceid|span id|transaction*|transaction id
        txn|txn id|tx|tx id|payment id|timestamp*|epoch|unix time|port|pid|exit code|error code|status code|error|errno
        line|row|rows|col|column*|page*|chapter|section*|paragraph|figure|fig|table|step|lat|latitude|lon|lng|long
        longitude|coordinate*|coord*|gps|utm|elevation|total*|subtotal|sum|amount*|price*|cost*|qty|quantity|stock|units
        bytes|size|width|height|weight|population|budget|revenue|turnover|salary|balance|license plate*|plate|vin
        vehicle*|driver s licen*|drivers licen*|driving licen*|licen?e no|license number*|licence number*|license*
        licence*|permit|voucher*|coupon*|promo code|gift card|code|otp|pin|verification code|zip|zip code|postcode
        postal code|plz|flight*|booking*|reservation*|confirmation*|pnr code|room|seat|gate|locker|meter*|meter reading
        device id|device*|asset*|asset tag|patent*|docket*|case file|filing|registration no|registration number*|reg no
        company no|company number*|vat*|vat no|ein|fei|ein number|itin|npi|mrn|medical record*|medicare*|health card*
        nhs*|nhs number|blood pressure|score|rating|votes|views|steps|calories|resolution|dimensions|offset|index|bucket
        shard|partition|topic|queue|job id|job|build id|task id|task|run id|run|message id|event id|record id|record
        record no|entry|document no|doc no|document id|file no|file number|dossier|archive|folio|warehouse|bin|pallet
        container*|wagon|truck|train|bus|ref id|id|bestell*|bestellnr|bestellnummer*|auftrag*|auftragsnummer*|rechnung*
        rechnungsnr|rechnungsnummer*|sendung*|sendungsnummer*|paket*|paketnummer*|lieferschein*|kundennummer*|kundennr
        kunden nr|kd nr|kd-nr|vertrag*|vertragsnummer*|artikel*|art nr|artikelnummer*|teilenummer*|teile nr
        seriennummer*|serien nr|aktenzeichen|az|vorgang*|vorgangsnummer*|ticketnummer|fall|fallnummer|charge*
        chargennummer*|modell*|hrb|hra|handelsregister*|ust id*|ustid*|ust idnr|umsatzsteuer*|steuernummer*|st nr
        kontonummer*|kto nr|konto nr|konto|blz|bankleitzahl|mitgliedsnummer*|mitglieds nr|personalnummer*
        versicherungsnummer*|vers nr|police*|rentenversicherung*|zähler*|zählerstand|betrag*|summe|gesamt*|preis*
        postleitzahl|seite|zeile|kapitel|abschnitt|kennzeichen|buchung*|buchungsnummer*|flug*|zug|matrikel*|inventar*
        referenz*|verwendungszweck|commande*|n° de commande|facture*|n° de facture|colis|suivi|numéro de suivi|réf
        référence*|article|série|n° de série|numéro de série|siret*|siren*|tva*|rcs|dossier*|n° de dossier|n° client
        numéro client|contrat*|compte|immatriculation|code postal|montant|prix|billet|vol|réservation*|adhérent|pedido*
        factura*|envío|envio|seguimiento|referencia*|artículo*|lote|serie|número de serie|expediente*|cliente*
        n° de cliente|contrato*|cuenta|importe|precio|código|código postal|matrícula*|reserva*|vuelo|cif|nss|afiliación
        recibo|albarán|guía|ordine*|ordini|fattura*|spedizione*|tracciamento|riferimento*|articolo|lotto|matricola*
        pratica*|cod cliente|codice cliente|contratto*|conto|importo|prezzo|partita iva|p iva|piva|p i|targa
        prenotazione*|volo|protocollo*|cap|bolletta|rif|bestelling*|bestelnummer*|factuur*|factuurnummer*|zending*
        pakket*|track trace|serienummer*|klantnummer*|klantnr|contractnummer*|dossiernummer*|zaaknummer*|rekening*
        rekeningnummer*|bedrag|prijs|kvk*|kvk nummer|btw*|kenteken*|boeking*|vlucht|referentie*|kenmerk|polis*
        onderdeelnummer*|encomenda*|nota fiscal*|nf|nfe|nf e|rastreio|rastreamento|código de rastreio|número de série
        protocolo*|processo*|cnpj|rg|cep|conta|agência|valor|preço|boleto*|matrícula|chave|título de eleitor|cnh|pis|nis
        inscrição|fatura*|apólice*|zamówieni*|nr zamówienia|faktur*|nr faktury|przesyłk*|paczk*|śledzeni*|nr seryjny
        numer seryjny|seryjn*|sprawa|sprawy|sygnatura|umow*|klient*|nr klienta|konta|rachun*|kwota|cena|nip|regon|krs
        kod pocztowy|rejestracyjn*|rezerwacj*|partia|artykuł*|indeks*|zgłoszeni*|list przewozowy|beställning*
        ordernummer*|order nr|faktura*|fakturanummer*|försändelse*|paket|kolli*|spårning*|artikelnr|ärende*
        ärendenummer*|kundnummer*|kundnr|avtal*|bankgiro|plusgiro|belopp|pris|organisationsnummer*|org nr|orgnr|momsreg*
        registreringsnummer*|bokning*|referens*|ocr*|ocr nummer|försäkringsnummer|sipariş*|sipariş no|fatura no|kargo*
        takip no|takip numara*|seri no|seri numara*|ürün*|parça*|dosya no|müşteri no|müşteri numara*|sözleşme*|hesap no
        hesap*|tutar|fiyat|vergi no*|vergi numara*|vkn|mersis|tc kimlik*|t c kimlik*|tckn|kimlik no|tc no|plaka*
        rezervasyon*|uçuş|poliçe*|barkod*|referans*|posta kodu|sicil*|заказ*|накладн*|счёт*|счет*|счета|трек*|отслежив*
        посылк*|отправлени*|артикул*|серийн*|серия|номер заказа|партия*|модель|договор*|дело|дела|обращени*|заявк*
        клиент*|лицевой*|сумма|цена|инн|кпп|огрн*|снилс|бик|р с|к с|окпо|полис*|омс|госномер|бронь*|бронирован*|рейс
        индекс|билет*|чек|طلب*|الطلب|طلبية|فاتورة*|الفاتورة|شحنة|الشحنة|تتبع|التتبع|تسلسلي|التسلسلي|رقم القطعة|المنتج
        مرجع*|المرجع|مرجعي|عقد|العقد|حساب|الحساب|عميل|العميل|المبلغ|مبلغ|السعر|الرمز البريدي|حجز|الحجز|رحلة|الرحلة|تذكرة
        السجل|السجل التجاري|الرقم الضريبي|بوليصة|الهوية|القضية|ऑर्डर*|आर्डर*|आदेश|चालान|इनवॉइस|बिल|ट्रैकिंग|सीरियल
        क्रमांक|पार्ट|उत्पाद|संदर्भ|खाता|ग्राहक|राशि|मूल्य|कीमत|पिन कोड|बुकिंग|टिकट|शिकायत|पैन|pan card|gstin|रसीद|注文*
        注文番号|受注|発注|請求*|請求書*|追跡*|伝票*|荷物|お問い合わせ番号|問い合わせ番号|送り状*|シリアル*|製造番号
        型番|品番|部品番号|商品*|管理番号|受付番号|契約*|会員番号|顧客番号|口座*|金額|価格|郵便番号|予約*|便名|整理番号
        案件|マイナンバー|法人番号|証券番号|ロット|登録番号|申込番号|주문*|주문번호|송장*|운송장*|배송*|청구*|청구서
        시리얼*|제품*|일련번호|품번|모델|접수번호|계약*|고객번호|회원번호|계좌*|금액|가격|우편번호|예약*|항공편|사업자*
        사업자등록번호|법인*|관리번호|티켓|사건번호|부품*|추적번호|订单*|訂單*|发票*|發票*|快递*|运单*|物流*|单号|單號
        追踪*|跟踪*|序列号*|編號|编号|型号|货号|批次*|批号|产品*|合同*|客户编号|账号|帐号|账户|賬戶|金额|价格|邮编|预订*
        预约|航班|车牌*|税号|统一社会信用代码|信用代码|工单|流水号|会员号|零件*|票号|学号|工号
    """,
    VERSION: """
        version*|ver|v|vers|build*|release*|firmware*|section*|sect|sec|chapter|clause|para|paragraph|§|§§|kernel*
        driver*|sdk|api version|upgrade*|upgraded|update*|updated|patch*|oid|abschnitt|kapitel|ausgabe|chapitre|versión*
        sección|capítulo|versione*|sezione|capitolo|versie*|paragraaf|hoofdstuk|versão*|seção|wersj*|rozdział|sekcja
        avsnitt|sürüm*|bölüm|версия|версии|версию|раздел*|глава|сборк*|الإصدار|إصدار|القسم|संस्करण|अनुभाग|バージョン
        セクション|章|節|버전|섹션|절|版本|章节|第|chrome|firefox|safari|appendix|annex|table|rule|item|schema|protocol
        tag|tagged|bump*|rev|spec
    """,
}
_GAP: Final = r"[ _'’\-./]{0,2}"
_ACCENTS: Final = str.maketrans("áàâãäåéèêëíìîïóòôõöúùûüçñćłńśźżęąğış", "aaaaaaeeeeiiiiooooouuuucncknszzeagis")


class Label(NamedTuple):
    """A word at text[start:end], and what it says of a number beside it."""

    start: int
    end: int
    kinds: tuple[
        str, ...
    ]  # more than one where languages differ: "cep" is a mobile in Turkish, a postcode in Portuguese
    word: str


class _Words(NamedTuple):
    pattern: Any
    kinds: dict[str, tuple[tuple[str, ...], bool]]  # squeezed word: what it may mean, whether it may go on


def _squeezed(word: str) -> str:
    return re.sub(r"[\s_'’\-./\u0307]+", "", word.lower())


def _pattern(term: str) -> str:
    """What finds a term. A short one begins after something that is no letter: "s/n" is not in "suis né"."""
    pattern = _GAP.join(re2.escape(part) for part in re.split(r"[ '\-]", term))
    if len(_squeezed(term)) > 3 or term[0] >= "\u0590":
        return pattern
    return rf"(?:\b|_){pattern}" if term[0].isascii() else rf"(?:^|[^\pL]){pattern}"


@cache
def _words() -> _Words:
    kinds: dict[str, tuple[tuple[str, ...], bool]] = {}
    patterns = set()
    for kind, lines in _WORDS.items():
        for term in re.split(r"[|\n]", lines):
            word = term.strip()
            longer = word.endswith("*")
            word = word.rstrip("*")
            if not word or "*" in word:
                continue
            for form in {word, word.translate(_ACCENTS) if len(word) > 4 else word}:
                key = _squeezed(form)
                before, went_on = kinds.get(key, ((), False))
                kinds[key] = (before if kind in before else (*before, kind), went_on or longer)
                patterns.add(_pattern(form))
                if "i" in form and not form.isascii():  # Turkish: İLETİŞİM, İletişim
                    patterns.update((_pattern(form.replace("i", "İ")), _pattern(form.replace("i", "İ", 1))))
    options = re2.Options()
    options.case_sensitive = False
    options.longest_match = True
    options.max_mem = 64 << 20
    return _Words(re2.compile("|".join(sorted(patterns)), options), kinds)


@lru_cache(2048)
def _known(word: str) -> tuple[tuple[str, ...], bool] | None:
    return _words().kinds.get(_squeezed(word))


def labels(plain: str) -> list[Label]:
    """The labels in a text, in order. One pass, linear in the text."""
    pattern = _words().pattern
    ascii_only = plain.isascii()
    data = plain.encode("utf-8", "surrogatepass")
    found: list[Label] = []
    place = byte = 0
    for match in pattern.finditer(data):
        first, last = match.span()
        if ascii_only:
            start, end = first, last
        else:
            start = place + len(data[byte:first].decode("utf-8", "surrogatepass"))
            end = start + len(data[first:last].decode("utf-8", "surrogatepass"))
            place, byte = end, last
        while start < end and not plain[start].isalnum() and plain[start] not in "§°":
            start += 1
        word = plain[start:end]
        known = _known(word)
        if known is None:
            continue
        meant, longer = known
        if (start and not _begins(plain, start)) or (not longer and not _ends(plain, end)):
            continue
        while longer and end < len(plain) and plain[end].isalpha() and plain[end] < "\u0590":
            end += 1  # all of "Telefonnummer", found by "telefon"
        word = plain[start:end]
        if word == "생" and (
            plain[start - 1] not in "0123456789일년"
            or ("가" <= plain[end : end + 1] <= "힣" and plain[end] not in "이입인의")
        ):
            continue  # "1971-02-21생", and not any word with that syllable
        found.append(Label(start, end, meant, word))
    return found


def _begins(plain: str, start: int) -> bool:
    """Whether a word begins here: after no letter, after a small one where this is large (camelCase), or in a script
    that runs words together."""
    letter, before = plain[start], plain[start - 1]
    if not before.isalpha() or letter >= "\u0590":
        return True
    return (before.islower() and letter.isupper()) or before >= "\u0590"


def _ends(plain: str, end: int) -> bool:
    after, last = plain[end : end + 1], plain[end - 1]
    if not after.isalpha() or last >= "\u0590" or after >= "\u0590":
        return True
    return last.islower() and after.isupper()
