//! The channels and processes of all upstream servers.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::list::has_content;
use super::upstream::Upstream;
use crate::backplane::{
    Directory, ForwardedOrder, ListedProcess, OrderError, PathError, RelayPath,
};
use crate::stats::ChannelStats;

/// The paths that are checked at the same time.
const MAX_PATH_CHECKS: usize = 16;

/// Asks the upstream servers when somebody asks here.
#[derive(Debug)]
pub(super) struct RelayDirectory {
    upstreams: Vec<Arc<Upstream>>,
    path_checks: Semaphore,
}

impl RelayDirectory {
    pub(super) fn new(upstreams: Vec<Arc<Upstream>>) -> Self {
        Self {
            upstreams,
            path_checks: Semaphore::new(MAX_PATH_CHECKS),
        }
    }

    pub(super) fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }

    /// Returns each channel once: as the server has it from which it is taken, if all are there.
    async fn merged_channels(&self) -> Vec<ChannelStats> {
        let lists = join_all(self.upstreams.iter().map(|upstream| upstream.channels())).await;
        if lists.len() == 1 {
            return lists.into_iter().flatten().collect();
        }
        let mut all: BTreeMap<String, (u8, ChannelStats)> = BTreeMap::new();
        for (upstream, channels) in self.upstreams.iter().zip(lists) {
            let is_up = upstream.is_up();
            for channel in channels {
                let rank = u8::from(has_content(&channel)) * 2 + u8::from(is_up);
                match all.entry(channel.channel.as_str().to_owned()) {
                    Entry::Vacant(place) => {
                        place.insert((rank, channel));
                    }
                    Entry::Occupied(mut place) if rank > place.get().0 => {
                        place.insert((rank, channel));
                    }
                    Entry::Occupied(_) => {}
                }
            }
        }
        all.into_values().map(|(_, channel)| channel).collect()
    }

    /// Returns each process once, however many servers have it from the same node.
    async fn merged_processes(&self) -> Vec<ListedProcess> {
        let lists = join_all(self.upstreams.iter().map(|upstream| upstream.processes())).await;
        if lists.len() == 1 {
            return lists.into_iter().flatten().collect();
        }
        let mut all: BTreeMap<(String, Option<String>), (bool, ListedProcess)> = BTreeMap::new();
        for (upstream, processes) in self.upstreams.iter().zip(lists) {
            let is_up = upstream.is_up();
            for process in processes {
                let key = (process.id.as_str().to_owned(), process.node.clone());
                match all.entry(key) {
                    Entry::Vacant(place) => {
                        place.insert((is_up, process));
                    }
                    Entry::Occupied(mut place) if is_up && !place.get().0 => {
                        place.insert((is_up, process));
                    }
                    Entry::Occupied(_) => {}
                }
            }
        }
        all.into_values().map(|(_, process)| process).collect()
    }

    async fn pass_on(&self, order: ForwardedOrder) -> Result<bool, OrderError> {
        if let [only] = &*self.upstreams {
            return only.order(&order).await;
        }
        let lists = join_all(self.upstreams.iter().map(|upstream| upstream.processes())).await;
        let having: Vec<_> = self
            .upstreams
            .iter()
            .zip(lists)
            .filter(|(_, list)| list.iter().any(|process| process.id == order.process_id))
            .map(|(upstream, _)| upstream)
            .collect();
        let chosen = having.iter().find(|upstream| upstream.is_up());
        match chosen.or_else(|| having.first()) {
            Some(upstream) => upstream.order(&order).await,
            None => Err(OrderError::NoSuchProcess(order.process_id)),
        }
    }

    async fn ask_for_path(&self, path: RelayPath) -> Result<(), PathError> {
        // The semaphore is never closed.
        let _permit = self.path_checks.acquire().await;
        join_all(
            self.upstreams
                .iter()
                .map(|upstream| upstream.check_path(&path)),
        )
        .await
        .into_iter()
        .collect()
    }
}

impl Directory for RelayDirectory {
    fn channels(&self) -> Pin<Box<dyn Future<Output = Vec<ChannelStats>> + Send + '_>> {
        Box::pin(self.merged_channels())
    }

    fn processes(&self) -> Pin<Box<dyn Future<Output = Vec<ListedProcess>> + Send + '_>> {
        Box::pin(self.merged_processes())
    }

    fn check_path(
        &self,
        path: RelayPath,
    ) -> Pin<Box<dyn Future<Output = Result<(), PathError>> + Send + '_>> {
        Box::pin(self.ask_for_path(path))
    }

    fn order(
        &self,
        order: ForwardedOrder,
    ) -> Pin<Box<dyn Future<Output = Result<bool, OrderError>> + Send + '_>> {
        Box::pin(self.pass_on(order))
    }
}
