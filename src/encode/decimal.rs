//! Numbers in decimal, without an allocation.

/// The number of digits of the largest `u64`.
pub(super) const MAX_DIGITS: usize = 20;

/// Appends a number in decimal.
#[inline]
pub(super) fn push_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; MAX_DIGITS];
    let mut at = MAX_DIGITS;
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_is_written_as_std_writes_it(value in any::<u64>(), shift in 0u32..64) {
            for value in [value >> shift, 0, 9, 10, u64::MAX] {
                let mut out = b"kept".to_vec();
                push_decimal(&mut out, value);
                prop_assert_eq!(String::from_utf8(out).unwrap(), format!("kept{value}"));
            }
        }
    }
}
