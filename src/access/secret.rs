//! Secrets, stored as hashes and compared in constant time.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// The SHA-256 of a secret. The secret itself is not stored.
///
/// The hash is unsalted and fast. That suits random keys, which cannot be guessed, but not
/// passwords.
#[derive(Clone, Copy)]
pub(super) struct Digest([u8; 32]);

impl Digest {
    pub(super) fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Parses 64 hexadecimal digits.
    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16);
            *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
        }
        Some(Self(bytes))
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn matches(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Returns the last entry with this secret.
///
/// Compares with every entry, so that the time does not reveal which entry matched. Linear in the
/// entries, with some tens of nanoseconds each.
pub(super) fn find<'a, T>(entries: &'a [(Digest, T)], secret: &str) -> Option<&'a T> {
    let wanted = Digest::of(secret.as_bytes());
    // The index counts from 1; 0 means that no entry matched.
    let mut place = 0_u64;
    for (index, (digest, _)) in (1_u64..).zip(entries) {
        place.conditional_assign(&index, digest.matches(&wanted));
    }
    let index = usize::try_from(place).ok()?.checked_sub(1)?;
    entries.get(index).map(|(_, entry)| entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_in_hexadecimal_is_that_of_the_secret() {
        let hex = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        for hex in [hex.to_owned(), hex.to_uppercase()] {
            let entries = [(Digest::from_hex(&hex).unwrap(), "found")];
            assert_eq!(find(&entries, "test"), Some(&"found"));
            assert_eq!(find(&entries, "tesu"), None);
        }
        for wrong in [
            "",
            "9f86",
            &"g".repeat(64),
            &"0".repeat(63),
            &"é".repeat(32),
        ] {
            assert!(Digest::from_hex(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn each_entry_is_found_by_its_own_secret() {
        let entries: Vec<_> = (0..50_u32)
            .map(|n| (Digest::of(n.to_string().as_bytes()), n))
            .collect();
        for n in 0..50_u32 {
            assert_eq!(find(&entries, &n.to_string()), Some(&n));
        }
        assert_eq!(find(&entries, "50"), None);
        assert_eq!(find::<()>(&[], ""), None);
    }
}
