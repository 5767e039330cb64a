"""Words that say how a sentence is built and not what it is about, per language: articles, pronouns, auxiliaries, question words.

Short on purpose. A word that can carry meaning (numbers, "without", "before") stays; rare words are left to the
inverse document frequency. Languages that are not here lose nothing but a little precision.
"""

from __future__ import annotations

__all__ = ["STOPWORDS"]

_LISTS = {
    "en": """a an and are as at be been being but by can could did do does for from had has have he her hers him his how i
        if in into is it its me my no not of on or our ours she should so such than that the their theirs them then there
        these they this those to us was we were what when where which who whom whose why will with would you your yours""",
    "de": """aber als am an auch auf aus bei bin bis bist da damit dann das dass dein deine dem den denn der des dich die
        dies diese diesem diesen dieser dieses dir doch du durch ein eine einem einen einer eines er es euch euer für
        hab habe haben hat hatte hatten hier ich ihm ihn ihnen ihr ihre ihrem ihren ihrer im in ins ist ja kann können
        könnte man mein meine meinem meinen meiner mich mir mit muss müssen nach nicht noch nur ob oder sein seine seinem
        seinen seiner sich sie sind so soll sollen sollte über um und uns unser unsere unter vom von vor war waren warum
        was weil welche welchem welchen welcher welches wem wen wenn wer werde werden wie wieso wir wird wo wurde wurden
        zu zum zur""",
    "es": """a al algo ante antes aquí así como con cual cuales cuando cuándo cuál cuáles de del desde donde dónde el él
        ella ellas ellos en entre era es esa esas ese eso esos esta está estaba están estar estas este esto estos fue
        fueron ha han hasta hay la las le les lo los más me mi mis muy ni no nos nosotros o para pero por porque puede
        pueden puedo que qué quien quién quienes se sea ser si sí sin sobre son su sus también te tengo tiene tienen todo
        tu tus un una unas uno unos usted ustedes y ya yo cómo""",
    "fr": """à ai ainsi alors au aux avec avoir c ça car ce cela celle celui ces cet cette ceux chez comme comment d dans
        de depuis des dois doit donc du elle elles en encore entre es est et étaient était été être eu eux fait font ici
        il ils j je l la là le les leur leurs lui m ma mais me même mes moi mon n ne nos notre nous on ont ou où par pas
        peut peuvent peux plus pour pourquoi qu quand que quel quelle quelles quels qui quoi s sa sans se sera ses si
        sont sous suis sur t ta te tes toi ton tous tout toute très tu un une vos votre vous y""",
    "it": """a ad agli ai al alla alle allo anche avere c che chi ci come con cosa così cui da dagli dai dal dalla dalle
        dallo de degli dei del dell della delle dello di dove e è ed era erano essere fra gli ha hanno ho i il in io la
        le lei li lo loro lui ma me mi mia mie miei mio ne negli nei nel nella nelle nello noi non nostra nostro o ogni
        per perché perchè più può qual quale quali quando quanto quanta quanti quante quella quelle quelli quello questa
        queste questi questo se sei si sia siamo sono sta su sua sue sui sugli sul sulla sulle suo suoi ti tra tu tua tuo
        un una uno vi voi vostra vostro""",
    "pt": """a à ao aos aquela aquele aquilo as às até com como da das de dela dele deles depois do dos e é ela elas ele
        eles em entre era eram essa essas esse esses esta está estão estar estas este estes eu foi foram há isso isto já
        lhe lhes mais mas me mesmo meu meus minha minhas muito na não nas nem no nos nós nossa nosso num numa o onde os
        ou para pela pelas pelo pelos pode podem por porque porquê posso quais qual quando que quê quem se seja sem ser
        seu seus são só sua suas também te tem têm tenho teu tua um uma umas uns você vocês""",
    "nl": """aan al als bij dan dat de deze die dit doe doen door dus een en er ga had hadden heb hebben heeft hem het
        hij hoe hun ik in is ja je jij jullie kan kon kunnen maar me meer men met mij mijn moet moeten na naar niet nog
        nu of om omdat ons onze ook op over te tot u uit uw van veel voor waar waarom wanneer want waren was wat we welk
        welke werd wie wij wil word worden wordt zal ze zei zelf zich zij zijn zo zou zouden""",
    "sv": """alla allt än är att av bara blev bli blir da de dem den denna deras dess dessa det detta dig din dina ditt
        du där då efter ej eller en er era ert ett från för ha hade han hans har hennes henne hon honom hur här i inte
        jag ju kan kunde man med mellan men mig min mina mitt mot mycket ni nu när någon något några och om oss på
        sedan sig sin sina sitt skall ska skulle som så till under upp ut utan vad var varför varje vem vi vid vilka
        vilken vilket vår våra vårt åt över""",
    "da": """ad af aldrig alle alt anden at bare blev blive bliver da de dem den denne der deres det dette dig din dine
        disse dit dog du efter eller en er et for fordi fra få før ham han hans har havde have hende hendes her hos hun
        hvad hvem hver hvilken hvilket hvilke hvis hvor hvordan hvorfor hvornår i ikke ind jeg jer jo kan kunne man
        mange med meget men mig min mine mit mod ned noget nogen nogle nu når og også om op os over på sammen selv sig
        sin sine sit skal skulle som sådan til ud under var vi vil ville vor være været""",
    "no": """alle at av bare begge ble bli blir da de deg dei dem den denne der dere deres det dette di din disse ditt du
        eller en enn er et ett etter for fordi fra før ha hadde han hans har hennes her hos hun hva hvem hver hvilken
        hvilket hvilke hvis hvor hvordan hvorfor i ikke inn ja jeg kan kunne man mange med meg meget men mer min mine
        mitt mot nei noe noen nå når og også om opp oss over på selv seg sin sine sitt skal skulle slik som så til ut
        uten var vi vil ville vår være vært""",
    "fi": """ei eivät en että he hän hänen ja jo joka jolla jonka jos jotka kanssa kaikki koska kuin kuinka kun kuka me
        mikä miksi millainen milloin minkä minun minä missä mistä mitä mitkä mutta myös ne niiden niin no nyt näin ole
        olen oli olivat olla on ovat se sekä sen siellä sinun sinä sitä tai te tämä tämän tässä tätä voi voin voivat
        vai vain voiko onko""",
    "ro": """a acea aceasta această acel acest acesta aceste acestea acestui ai al ale am ar are as aș asta au avea ca că
        care ce cea cei cele cel cu cum când cât către cine da dacă dar de deci din doar după e ea ei el ele era este eu
        fi fie fost și în îi îl își iar la le lor lui mai mea mei mele meu mi mă ne nici noi nostru nu o ori pe pentru
        poate pot prin sa să sale sau se si sunt sub tu un una unde unei unor unui va vă vi voi vor""",
    "ru": """а бы был была были было быть в вам вас ваш ваша ваше ваши весь во вот все всех вы где да для до его ее её если есть
        еще ещё же за и из или им их к как какая какие какой какое какую ко когда кто ли либо мне можно мой моя мы на над
        нам нас наш не него нее нет ни них но о об однако он она они оно от очень по под почему при с са сам свое своего
        своей свои своих свой себя со так также такой там те тем то того тоже той только том тот ты у уже чего чем что
        чтобы чья эта эти это этого этой этом этот этих я""",
    "pl": """a aby albo ale ani as będzie będą bo bez był była było były by być ci co czy czym dla do gdy gdzie go i ich im
        ja jak jaka jaki jakie jako je jego jej jest jestem jeśli już każdy kiedy kim kto która które którego której
        który których którzy lub ma mam mi mnie mogę może można moje mój my na nad nam nas nasz nie nich nim niż no o od
        oni ono oraz po pod ponieważ przed przez przy są się skąd so sobie swoje ta tak taki tam te tego tej ten też to
        tu tych tylko tym ty u w we więc wszystko wy z za ze że dlaczego""",
    "tr": """acaba ama ancak bana bazı belki ben beni benim bir biz bize bizim bu bunu bunun burada çok çünkü da daha de
        değil diye en gibi göre hangi hangisi hem hep her hiç için ile ise kadar ki kim kime kimin mi mı mu mü nasıl ne
        neden nedir nerede nereye niçin niye o olan olarak oldu olduğu olur on ona onlar onu onun sadece sana sen senin
        siz sizin şey şu tüm ve veya ya yani""",
    "el": """αλλά αν από αυτά αυτές αυτή αυτό αυτοί αυτός αυτού για γιατί δεν εγώ εδώ εκεί είναι είμαι εμείς ένα ένας έχει
        έχουν έχω ή η ήταν θα και κάθε καμία κατά με μέσα μετά μη μην μια μία μου μπορεί μπορώ να ο οι όμως όπως όταν ότι
        ού που πού ποια ποιες ποιο ποιοι ποιος πότε πριν προς πως πώς σας σε στα στη στην στις στο στον στους τα τη την
        της τι τις το τον του τους των ως""",
    "ar": """أن أنا أنت أو أي أين إلى إن إذا التي الذي الذين ان اي اين الى بعد بين تم ثم حتى حيث ذلك على عن عند في فيه قد كان
        كانت كل كم كما كيف لا لم لماذا لن له لها ليس ما ماذا متى مع من منذ نحن هذا هذه هل هم هناك هو هي و وقد وهو ولا يا يكون""",
    "hi": """का की के को में से पर है हैं था थी थे और या यह वह ये वे इस उस इन उन ने कि जो तो भी ही हो होता होती होते कर करना करने
        किया गया गई गए क्या कौन कब कहाँ कहां कैसे क्यों किस कितना कितने कितनी एक नहीं मैं मेरा मेरी मेरे हम हमारे आप आपके आपका तक साथ लिए अपने""",
}  # fmt: skip

STOPWORDS = {language: frozenset(words.split()) for language, words in _LISTS.items()}
