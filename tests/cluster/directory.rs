//! The channels of all nodes, listed by each.

use outrace_testkit::{BrokerServer, eventually};

use crate::kit::{Member, over_each_broker};

over_each_broker! {
    every_node_lists_the_channels_of_all_with_their_node_and_status,
}

async fn every_node_lists_the_channels_of_all_with_their_node_and_status(broker: BrokerServer) {
    let a = Member::start(&broker, "a").await;
    let b = Member::start(&broker, "b").await;
    a.hub.send_process_status("one", "running", 0).unwrap();
    a.hub.send_process_status("one", "exited", 3).unwrap();
    b.hub.send_process_output("two", "a line").unwrap();
    a.is_home(1).await;
    b.is_home(1).await;
    for member in [&a, &b] {
        member.hears(2).await;
        let channels = loop {
            let channels = member.channels().await;
            if channels.len() == 2 && channels[0]["status"]["status"] == "exited" {
                break channels;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        };
        assert_eq!(channels[0]["channel"], "process:one");
        assert_eq!(channels[0]["node"], "a");
        assert_eq!(channels[0]["status"]["exitCode"], 3);
        assert_eq!(channels[1]["channel"], "process:two");
        assert_eq!(channels[1]["node"], "b");
    }
    eventually(|| a.backplane().nodes == 2).await;
}
