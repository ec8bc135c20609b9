//! Names with `*` in them: any run of characters, also none. No other character is special.

/// A pattern over names. `*` alone fits everything, the empty name too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob(String);

impl Glob {
    pub(super) fn new(pattern: &str) -> Self {
        Self(pattern.to_owned())
    }

    pub(super) fn fits(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut p, mut n) = (0, 0);
        // Where the last `*` stood, and how far it had reached: the only place to come back to, so time is at most pattern × name.
        let mut star: Option<(usize, usize)> = None;
        while n < name.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    star = Some((p, n));
                    p += 1;
                }
                Some(c) if *c == name[n] => {
                    p += 1;
                    n += 1;
                }
                _ => match star {
                    Some((at, reached)) => {
                        star = Some((at, reached + 1));
                        p = at + 1;
                        n = reached + 1;
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|c| *c == b'*')
    }
}

/// Whether a list of patterns speaks about `name`; an empty list speaks about every name.
pub(super) fn none_or_fits(globs: &[Glob], name: &str) -> bool {
    globs.is_empty() || globs.iter().any(|g| g.fits(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_run_of_characters() {
        for (pattern, name, fits) in [
            ("*", "", true),
            ("*", "x", true),
            ("", "", true),
            ("", "x", false),
            ("shop-*", "shop-", true),
            ("shop-*", "shop-db", true),
            ("shop-*", "my-shop-db", false),
            ("*-db", "shop-db", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-c-d", false),
            ("sh.helm.release.v1.*", "sh.helm.release.v1.shop.v3", true),
            ("sh.helm.release.v1.*", "shxhelm.release.v1.shop", false),
            ("shop", "shop2", false),
        ] {
            assert_eq!(Glob::new(pattern).fits(name), fits, "`{pattern}` on `{name}`");
        }
    }
}
