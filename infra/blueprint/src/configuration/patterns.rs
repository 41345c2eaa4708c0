//! Patterns of texts. They are few and simple, so no regular expressions are needed.

use std::str::FromStr;

/// A pattern of a text.
#[derive(Debug, Clone, Copy)]
pub struct Pattern {
    /// The allowed texts, for messages.
    pub says: &'static str,
    /// A text that fits.
    pub example: &'static str,
    /// Returns true if a text fits.
    pub fits: fn(&str) -> bool,
}

/// The id of an AWS account.
pub const ACCOUNT_ID: Pattern = Pattern {
    says: "12 digits, or empty until an account is chosen",
    example: "123456789012",
    fits: |text| {
        text.is_empty() || text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
    },
};

/// An AWS region.
pub const REGION: Pattern = Pattern {
    says: "a region",
    example: "us-east-1",
    fits: is_region,
};

/// An AWS region, or empty.
pub const OTHER_REGION: Pattern = Pattern {
    says: "a region, or empty for none",
    example: "us-west-2",
    fits: |text| text.is_empty() || is_region(text),
};

/// The value of a tag.
pub const TAG: Pattern = Pattern {
    says: "1 to 64 letters, digits, spaces or _.:/=+-@",
    example: "platform",
    fits: |text| {
        (1..=64).contains(&text.len())
            && text.chars().all(|character| {
                character.is_ascii_alphanumeric() || " _.:/=+-@".contains(character)
            })
    },
};

/// The address range of the VPC.
pub const CIDR: Pattern = Pattern {
    says: "a private range of size /16",
    example: "10.20.0.0/16",
    fits: is_private_slash_16,
};

/// A version of PostgreSQL. From version 15 on, RDS requires TLS by default:
/// AmazonRDS/latest/UserGuide/PostgreSQL.Concepts.General.SSL.html
pub const ENGINE_VERSION: Pattern = Pattern {
    says: "major and minor version, 15 or later",
    example: "16.9",
    fits: |text| {
        text.split_once('.').is_some_and(|(major, minor)| {
            number::<u8>(major).is_some_and(|major| (15..=30).contains(&major))
                && number::<u8>(minor).is_some()
        })
    },
};

/// An instance class of RDS.
pub const INSTANCE_CLASS: Pattern = Pattern {
    says: "db, family and size",
    example: "db.t4g.medium",
    fits: |text| text.strip_prefix("db.").is_some_and(is_family_and_size),
};

/// A node type of ElastiCache.
pub const NODE_TYPE: Pattern = Pattern {
    says: "cache, family and size",
    example: "cache.t4g.small",
    fits: |text| text.strip_prefix("cache.").is_some_and(is_family_and_size),
};

/// The digest of an image.
pub const DIGEST: Pattern = Pattern {
    says: "sha256: and 64 hexadecimal digits, or empty",
    example: "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    fits: |text| {
        text.is_empty()
            || text.strip_prefix("sha256:").is_some_and(|digits| {
                digits.len() == 64
                    && digits
                        .bytes()
                        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            })
    },
};

/// A DNS name.
pub const DOMAIN: Pattern = Pattern {
    says: "a DNS name in lowercase letters",
    example: "shop.brewhaven.example",
    fits: is_domain,
};

/// The id of a hosted zone.
pub const HOSTED_ZONE: Pattern = Pattern {
    says: "Z and up to 31 uppercase letters or digits",
    example: "Z0123456789ABCDEFGHIJ",
    fits: |text| {
        (2..=32).contains(&text.len())
            && text.starts_with('Z')
            && text
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    },
};

/// An origin for CORS: never `*`, and never plain HTTP.
pub const ORIGIN: Pattern = Pattern {
    says: "https:// and a DNS name, with or without a port",
    example: "https://shop.brewhaven.example",
    fits: |text| {
        let Some(host) = text.strip_prefix("https://") else {
            return false;
        };
        match host.split_once(':') {
            Some((name, port)) => {
                is_domain(name) && number::<u16>(port).is_some_and(|port| port > 0)
            }
            None => is_domain(host),
        }
    },
};

/// An e-mail address.
pub const EMAIL: Pattern = Pattern {
    says: "an e-mail address",
    example: "on-call@brewhaven.example",
    fits: |text| {
        text.split_once('@').is_some_and(|(local, domain)| {
            (1..=64).contains(&local.len())
                && local.chars().all(|character| {
                    character.is_ascii_alphanumeric() || "._+-".contains(character)
                })
                && is_domain(domain)
        })
    },
};

/// Returns true for letters, one or two words and a digit: `us-east-1`, `us-gov-west-1`,
/// `eusc-de-east-1`.
fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [first, words @ .., number] = parts.as_slice() else {
        return false;
    };
    let letters =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    (2..=4).contains(&first.len())
        && letters(first)
        && (1..=2).contains(&words.len())
        && words.iter().all(|word| word.len() <= 9 && letters(word))
        && number.len() == 1
        && number.bytes().all(|byte| matches!(byte, b'1'..=b'9'))
}

/// Returns the number if the text is its decimal form, without a sign or leading zeros.
fn number<N: FromStr + ToString>(text: &str) -> Option<N> {
    let number = text.parse::<N>().ok();
    number.filter(|number| number.to_string() == text)
}

fn is_private_slash_16(text: &str) -> bool {
    let Some((first, second)) = text
        .strip_suffix(".0.0/16")
        .and_then(|start| start.split_once('.'))
    else {
        return false;
    };
    matches!(
        (number::<u8>(first), number::<u8>(second)),
        (Some(10), Some(_)) | (Some(172), Some(16..=31)) | (Some(192), Some(168))
    )
}

/// Returns true for a family and a size: `t4g.medium`, `r7g.16xlarge`.
fn is_family_and_size(text: &str) -> bool {
    let Some((family, size)) = text.split_once('.') else {
        return false;
    };
    let times = size.strip_suffix("xlarge").and_then(number::<u8>);
    let a_size = matches!(
        size,
        "micro" | "small" | "medium" | "large" | "metal" | "xlarge"
    ) || times.is_some_and(|times| times > 1);
    a_size
        && (2..=12).contains(&family.len())
        && family.starts_with(|character: char| character.is_ascii_lowercase())
        && family.bytes().any(|byte| byte.is_ascii_digit())
        && family
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let top = text.rsplit('.').next().unwrap_or_default();
    // An IPv4 address is not a name.
    text.len() <= 253
        && text.contains('.')
        && text.split('.').all(label)
        && top.bytes().any(|byte| byte.is_ascii_lowercase())
}
