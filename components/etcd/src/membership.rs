//! Who this member is. The ids are made as etcd makes them, so that they are the same for the same cluster.

use ring::digest;

use crate::proto::rpc::Member;

/// This member and its cluster.
#[derive(Clone, Debug)]
pub struct Membership {
    pub cluster_id: u64,
    pub member_id: u64,
    pub member: Member,
}

impl Membership {
    /// A cluster of this member alone.
    pub fn alone(name: &str, peer_urls: &[String], client_urls: &[String], token: &str) -> Self {
        let member_id = member_id(peer_urls, token);
        let member = Member {
            id: member_id,
            name: name.to_owned(),
            peer_ur_ls: sorted(peer_urls),
            client_ur_ls: sorted(client_urls),
            is_learner: false,
        };
        Self { cluster_id: cluster_id(&[member_id]), member_id, member }
    }
}

impl Membership {
    /// The ids that were given at the first start stay, whatever the flags say later.
    pub fn with_identity(mut self, (member_id, cluster_id): (u64, u64)) -> Self {
        (self.member_id, self.cluster_id, self.member.id) = (member_id, cluster_id, member_id);
        self
    }
}

fn sorted(urls: &[String]) -> Vec<String> {
    let mut urls = urls.to_vec();
    urls.sort();
    urls
}

/// The first eight bytes of the SHA-1 of the sorted peer URLs and the cluster's token.
fn member_id(peer_urls: &[String], token: &str) -> u64 {
    first_bytes(&[sorted(peer_urls).concat().as_bytes(), token.as_bytes()].concat())
}

/// The first eight bytes of the SHA-1 of the sorted member ids.
fn cluster_id(members: &[u64]) -> u64 {
    let mut members = members.to_vec();
    members.sort_unstable();
    let bytes: Vec<u8> = members.iter().flat_map(|id| id.to_be_bytes()).collect();
    first_bytes(&bytes)
}

fn first_bytes(bytes: &[u8]) -> u64 {
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
    u64::from_be_bytes(digest.as_ref()[..8].try_into().expect("a SHA-1 has twenty bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_etcds_own() {
        let urls = ["http://localhost:2380".to_owned()];
        let membership = Membership::alone("default", &urls, &urls, "etcd-cluster");
        // What etcd prints for a member started without any flag.
        assert_eq!(format!("{:x}", membership.member_id), "8e9e05c52164694d");
        assert_eq!(format!("{:x}", membership.cluster_id), "cdf818194e3a8c32");
    }
}
