//! Whom an answer may lead us to: beside the host that is configured, public addresses only. Else
//! whoever can write an answer could ask, through us, what stands behind our own walls. Names are judged
//! by the addresses that are connected to, so that no name can say one thing and mean another.

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

/// A host that no answer may lead to, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an answer has led there, and {host} is at {address}, which is no public address; answers may \
    lead to the host of the configured address and to public ones: if this is meant, configure it \
    as the address"
)]
pub(super) struct Inside {
    host: String,
    address: IpAddr,
}

/// Looks names up; the one that it watches must be public.
#[derive(Clone, Default)]
pub(super) struct Guard(Arc<Mutex<Option<String>>>);

impl Guard {
    /// Watches the host of the next call, if it is one that an answer has led to.
    ///
    /// # Errors
    /// If the address itself says that it is not public.
    pub fn watch(&self, url: &Url, away: bool) -> Result<(), Inside> {
        let host = url.host_str().filter(|_| away).map(str::to_owned);
        let literal = host.as_deref().and_then(|host| host.trim_matches(['[', ']']).parse().ok());
        let judged = match (&host, literal) {
            (Some(host), Some(address)) => judge(host, address),
            _ => Ok(()),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = host;
        judged
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let watched = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move {
            let host = name.as_str();
            // Another name is that of a proxy, which is ours.
            let is_watched = watched.is_some_and(|watched| watched.eq_ignore_ascii_case(host));
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            if is_watched {
                found.iter().try_for_each(|address| judge(host, address.ip()))?;
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn judge(host: &str, address: IpAddr) -> Result<(), Inside> {
    match is_public(address) {
        true => Ok(()),
        false => Err(Inside { host: host.to_owned(), address }),
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_4(address),
        IpAddr::V6(address) => is_public_6(address),
    }
}

fn is_public_4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    let is_reserved = match first {
        0 | 240.. => true,
        // Shared with those behind the same carrier; some clouds keep their metadata in it.
        100 => (64..128).contains(&second),
        192 => (second, third) == (0, 0),
        198 => matches!(second, 18 | 19),
        _ => false,
    };
    let is_local = address.is_private() || address.is_loopback() || address.is_link_local();
    !(is_reserved || is_local || address.is_multicast())
}

fn is_public_6(address: Ipv6Addr) -> bool {
    let of = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => false,
        // Addresses of IPv4 in other clothes: as they are, mapped, translated, tunnelled.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => is_public_4(of(high, low)),
        // Local translation, unique local, link-local, site-local, multicast.
        [0x64, 0xff9b, ..] | [0xfc00..=0xfdff | 0xfe80..=0xfeff | 0xff00.., ..] => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_public_is_known_in_any_spelling() {
        for (host, wanted) in [
            ("1.1.1.1", true),
            ("100.63.0.1", true),
            ("172.32.0.1", true),
            ("[2606:4700::1111]", true),
            ("[64:ff9b::101:101]", true),
            ("0.0.0.0", false),
            ("10.1.2.3", false),
            ("100.100.100.200", false),
            ("127.0.0.1", false),
            ("127.1", false),
            ("2130706433", false),
            ("0x7f000001", false),
            ("0177.0.0.1", false),
            ("169.254.169.254", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("192.0.0.192", false),
            ("198.18.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("[::]", false),
            ("[::1]", false),
            ("[::ffff:169.254.169.254]", false),
            ("[::127.0.0.1]", false),
            ("[64:ff9b::7f00:1]", false),
            ("[64:ff9b:1::1]", false),
            ("[2002:7f00:1::]", false),
            ("[fd00:ec2::254]", false),
            ("[fe80::1]", false),
            ("[ff02::1]", false),
        ] {
            let url = Url::parse(&format!("http://{host}:8080/a")).unwrap();
            assert_eq!(Guard::default().watch(&url, true).is_ok(), wanted, "{host}");
            assert!(Guard::default().watch(&url, false).is_ok(), "{host}: it is configured");
        }
    }

    #[test]
    fn a_name_is_what_it_resolves_to() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let guard = Guard::default();
        let look = |guard: &Guard| {
            let found = runtime.block_on(guard.resolve("localhost".parse().unwrap()));
            found.map(drop).map_err(|error| error.downcast::<Inside>().unwrap().to_string())
        };
        let url = |host: &str| Url::parse(&format!("http://{host}/")).unwrap();
        guard.watch(&url("LOCALHOST"), true).unwrap();
        let error = look(&guard).unwrap_err();
        assert!(error.contains("localhost is at "), "{error}");
        guard.watch(&url("localhost"), false).unwrap();
        assert_eq!(look(&guard), Ok(()), "it is configured");
        guard.watch(&url("public.example"), true).unwrap();
        assert_eq!(look(&guard), Ok(()), "it is the name of a proxy");
    }
}
