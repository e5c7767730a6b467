//! The internet checksum (RFC 1071). A sum here is any number of the right residue class modulo 65,535; only `finish`
//! and its kin make fields, which are in 0..=0xfffe as those of `wiresock_py/datapath/checksum.py` are.

/// The sum of the big-endian words of `data`, an odd last byte padded with zero: at most 0xffff.
pub fn word_sum(data: &[u8]) -> i64 {
    let mut total: u64 = 0;
    let words = data.chunks_exact(4);
    let rest = words.remainder();
    for word in words {
        total += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
    }
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    total += u64::from(u32::from_ne_bytes(last));
    while total >> 16 != 0 {
        total = (total & 0xFFFF) + (total >> 16);
    }
    // native-endian words: the sum with its bytes swapped where the machine's are little-endian
    i64::from(u16::from_be_bytes((total as u16).to_ne_bytes()))
}

/// The field for data of sum `total`, the field itself counted as zero.
pub fn finish(total: i64) -> u16 {
    (-total).rem_euclid(65_535) as u16
}

/// The field after the sum of what it covers grew by `delta` (RFC 1624 equation 3).
pub fn adjust(checksum: u16, delta: i64) -> u16 {
    (i64::from(checksum) - delta).rem_euclid(65_535) as u16
}

/// `checksum` where zero means "none": 0xffff is the other zero.
pub fn never_zero(checksum: u16) -> u16 {
    if checksum == 0 { 0xFFFF } else { checksum }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow_sum(data: &[u8]) -> u64 {
        data.chunks(2).map(|word| u64::from(word[0]) * 256 + u64::from(*word.get(1).unwrap_or(&0))).sum()
    }

    #[test]
    fn the_sum_is_the_words_sum_whatever_the_length() {
        let data: Vec<u8> = (0..3000u32).map(|i| (i * i % 251) as u8).collect();
        for length in (0..70).chain([1419, 1420, 1421, 3000]) {
            assert_eq!(word_sum(&data[..length]) as u64 % 65_535, slow_sum(&data[..length]) % 65_535, "{length}");
        }
    }

    #[test]
    fn a_field_makes_the_sum_zero() {
        for total in [0, 1, 65_534, 65_535, 70_000, -3] {
            assert_eq!((total + i64::from(finish(total))).rem_euclid(65_535), 0);
        }
    }
}
