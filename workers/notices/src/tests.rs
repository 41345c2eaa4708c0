//! The text of every notification, and input of customers that must not change its meaning.

use app::ports::notices::NoticeKind;
use domain::gsm;
use insta::assert_snapshot;

use super::samples::Sample;
use super::*;

/// RFC 5322 section 2.1.1: a line of a mail, without its end.
const LINE_MAX: usize = 998;

fn words() -> Words {
    let zones = Zones::of(&[Location::initial()]);
    Words {
        public_url: "https://brewhaven.example".to_owned(),
        staff_mail: "staff@brewhaven.example".to_owned(),
        zones,
    }
}

fn mail(sample: &Sample) -> Mail {
    words().mail(&sample.news(), "sample".to_owned())
}

fn text(sample: &Sample) -> Option<Text> {
    words().text(&sample.news(), "sample".to_owned())
}

fn sample(kind: &str) -> Sample {
    Sample::of(NoticeKind::from_code(kind).expect("a kind"))
}

/// Returns a sample with a changed order.
fn sample_with(kind: &str, change: impl FnOnce(&mut StoredOrder)) -> Sample {
    let mut sample = sample(kind);
    change(&mut sample.stored);
    sample
}

#[test]
fn every_mail_has_its_snapshot() {
    for kind in NoticeKind::ALL.map(NoticeKind::code) {
        let mail = mail(&sample(kind));
        assert_snapshot!(
            format!("{kind}.txt"),
            format!(
                "To: {}\nSubject: {}\n\n{}",
                mail.to, mail.subject, mail.text
            )
        );
        assert_snapshot!(format!("{kind}.html"), mail.html);
    }
}

#[test]
fn every_text_has_its_snapshot_and_fits_into_one_message() {
    let mut all = String::new();
    for kind in NoticeKind::ALL.map(NoticeKind::code) {
        let Some(text) = text(&sample(kind)) else {
            continue;
        };
        let septets = gsm::septets(&text.body).expect("only characters of phones");
        assert!(septets <= gsm::SEPTETS_MAX, "{kind}: {septets}");
        assert!(text.body.contains("A-047"), "{kind} has no order number");
        all.push_str(&format!(
            "{kind} to {} ({septets})\n{}\n\n",
            text.to, text.body
        ));
    }
    assert_snapshot!("texts", all);
}

#[test]
fn each_sample_has_its_kind() {
    for kind in NoticeKind::ALL.map(NoticeKind::code) {
        assert_eq!(sample(kind).news().kind().map(NoticeKind::code), Some(kind));
    }
    assert_eq!(NoticeKind::from_code("order_lost"), None);
}

#[test]
fn a_long_shop_url_drops_the_link_and_keeps_the_order_number() {
    let words = Words {
        public_url: format!("https://{}.example", "a".repeat(120)),
        ..words()
    };
    for kind in [
        "order_confirmed",
        "order_ready",
        "order_shipped",
        "order_waiting",
        "order_cancelled",
        "order_failed",
    ] {
        let text = words
            .text(&sample(kind).news(), String::new())
            .expect("a text")
            .body;
        assert!(
            gsm::fits(&text) && text.contains("A-047") && !text.contains("https"),
            "{text}"
        );
    }
}

#[test]
fn input_of_customers_is_escaped() {
    let name = "<script>alert(1)</script>&\"'";
    for kind in NoticeKind::ALL.map(NoticeKind::code) {
        let hostile = sample_with(kind, |stored| {
            stored.order.customer.name = name.to_owned();
            stored.order.reason = Some(name.to_owned());
            stored.order.items[0].name = name.to_owned();
        });
        let mail = mail(&hostile);
        assert!(
            !mail.html.contains("<script") && !mail.html.contains(name),
            "{kind}: {}",
            mail.html
        );
        assert!(
            !mail.subject.contains(['\r', '\n', '<']),
            "{kind}: {}",
            mail.subject
        );
        assert!(
            text(&hostile).is_none_or(|text| !text.body.contains("script")),
            "{kind}"
        );
    }
}

/// A person can place an order with somebody else's address and any name. The mail must not contain
/// a link that this person chose.
#[test]
fn input_of_customers_is_never_a_link() {
    for kind in NoticeKind::ALL.map(NoticeKind::code) {
        let hostile = sample_with(kind, |stored| {
            stored.order.customer.name = "Win at https://win.example.com".to_owned();
            stored.order.reason = Some("cancelled by staff: write to boss@example.org".to_owned());
        });
        let mail = mail(&hostile);
        for text in [&mail.text, &mail.html, &mail.subject] {
            assert!(
                !text.contains("win.example.com") && !text.contains("boss@example.org"),
                "{kind}: {text}"
            );
        }
    }
    let named = sample_with("order_ready", |stored| {
        stored.order.customer.name = "win.example.com".to_owned()
    });
    assert!(
        mail(&named).text.contains("win[.]example[.]com"),
        "the name stays readable"
    );
}

/// The name of a product comes from a supplier's list. Messages that were sent before the cleaning
/// of names was added can still have unsafe names.
#[test]
fn a_product_name_cannot_reverse_a_subject_or_break_its_line() {
    let news = News::Stock {
        name: "Latte\u{202e}\r\nBcc: x",
        level: StockLevel::Out,
        available: 0,
        low_stock_threshold: 5,
    };
    let mail = words().mail(&news, "sample".to_owned());
    assert_eq!(mail.subject, "Sold out: Latte Bcc: x");
    for text in [mail.text, mail.html] {
        assert!(
            text.contains("Latte Bcc: x") && !text.contains('\u{202e}'),
            "{text}"
        );
    }
}

#[test]
fn every_line_of_a_mail_is_within_the_limit() {
    for kind in NoticeKind::ALL.map(NoticeKind::code) {
        let longest = sample_with(kind, |stored| {
            // The longest name, in characters of four octets.
            stored.order.customer.name = "\u{1f370}".repeat(domain::customer::NAME_MAX);
            stored.order.reason = Some("x".repeat(300));
        });
        let mail = mail(&longest);
        for line in mail
            .html
            .lines()
            .chain(mail.text.lines())
            .chain([mail.subject.as_str()])
        {
            assert!(
                line.len() <= LINE_MAX,
                "{kind}: a line of {} octets",
                line.len()
            );
        }
    }
}

/// Codes of the gateway and notes of staff appear only in the order timeline. A refund is mentioned
/// only after a charge.
#[test]
fn mails_and_texts_have_no_codes_and_no_notes_of_staff() {
    let messages = |sample: &Sample| {
        let mail = mail(sample);
        [
            mail.text,
            mail.html,
            text(sample).map(|text| text.body).unwrap_or_default(),
        ]
    };
    for message in messages(&sample("order_failed")) {
        assert!(
            !message.contains("insufficient_funds") && !message.contains("refund"),
            "{message}"
        );
        assert!(message.contains("Your card was not charged."), "{message}");
    }
    let noted = sample_with("order_cancelled", |stored| {
        stored.order.reason = Some("cancelled by staff: he shouted at Ben again".to_owned());
    });
    for message in messages(&noted) {
        assert!(
            !message.contains("shouted") && message.contains("refunded $"),
            "{message}"
        );
    }
}

#[test]
fn a_pickup_time_has_its_day_and_the_time_zone_of_the_shop() {
    let confirmed = mail(&sample("order_confirmed"));
    for message in [confirmed.text, confirmed.html] {
        assert!(message.contains("Pickup: Sun 1 Mar, 4:00 am"), "{message}");
    }
    let body = text(&sample("order_confirmed")).expect("a text").body;
    assert!(body.contains("confirmed for Sun 1 Mar, 4:00 am."), "{body}");
    // If time and link do not fit into one message, the message keeps the link, whose page has the
    // time.
    let longer = Words {
        public_url: "https://orders.main-street.brewhaven.example".to_owned(),
        ..words()
    };
    let body = longer
        .text(&sample("order_confirmed").news(), String::new())
        .expect("a text")
        .body;
    assert!(body.contains("https://") && !body.contains("Mar"), "{body}");
    let at_once = sample_with("order_confirmed", |stored| stored.order.pickup_at = None);
    assert!(!mail(&at_once).text.contains("Pickup"));
    // The time of an unknown location names its time zone.
    let unread = Words {
        zones: Zones::default(),
        ..words()
    };
    assert!(
        unread
            .mail(&sample("order_confirmed").news(), String::new())
            .text
            .contains("9:00 am UTC")
    );
}

#[test]
fn a_number_without_a_country_code_gets_no_text() {
    let local = sample_with("order_ready", |stored| {
        stored.order.customer.phone = "555 010 0123".to_owned()
    });
    assert_eq!(text(&local), None);
}

#[test]
fn a_delivery_does_not_mention_the_counter() {
    let delivery = sample_with("order_ready", |stored| {
        stored.order.order_type = OrderType::Delivery
    });
    assert!(!mail(&delivery).text.contains("counter"));
    assert!(!text(&delivery).expect("a text").body.contains("counter"));
}
