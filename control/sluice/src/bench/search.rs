//! The highest rate without loss (RFC 2544 §26.1: throughput), by bisection.

use anyhow::Result;

/// The highest rate between 0 and `high` at which `passes` holds, to within `resolution` of it; 0 if there is none.
/// `passes` is asked for `high` first.
pub fn highest(high: f64, resolution: f64, mut passes: impl FnMut(f64) -> Result<bool>) -> Result<f64> {
    if passes(high)? {
        return Ok(high);
    }
    let (mut low, mut high) = (0.0, high);
    while high - low > resolution * high {
        let middle = f64::midpoint(low, high);
        if passes(middle)? {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_search_ends_just_below_the_limit(limit in 1_f64..1e7, high in 1_f64..1e7) {
            let found = highest(high, 0.02, |rate| Ok(rate <= limit)).unwrap();
            prop_assert!(found <= limit);
            prop_assert!(found >= limit.min(high) * 0.97 || limit < high * 0.02, "{found} of {limit}");
        }
    }

    #[test]
    fn a_device_that_always_loses_has_no_rate() {
        assert!(highest(1e6, 0.02, |rate| Ok(rate < 1.0)).unwrap() < 1.0);
    }
}
