//! Handles the messages that are no lines, and the control frames.

use super::{ClientState, ConnectionEnd, LoadClient, ReadSummary, ReceiveContext};
use crate::client::server_message::{
    Announcement, AnnouncementFault, MessageType, excerpt, is_last_status,
};
use crate::wire::frame::{CLOSE, PING, PONG, push_client_frame};
use crate::workload::Workload;

impl LoadClient {
    /// Handles a text message that is no stamped line.
    #[cold]
    pub(super) fn message(
        &mut self,
        payload: &[u8],
        context: &mut ReceiveContext<'_>,
        summary: &mut ReadSummary,
    ) -> Result<(), ConnectionEnd> {
        let number = self.number;
        match MessageType::of(payload) {
            MessageType::Pong => {
                self.ponged = true;
                if self.state == ClientState::Leaving {
                    self.state = ClientState::Left;
                }
                self.finish_join(context.now_ns);
            }
            announcement @ (MessageType::Subscribed | MessageType::Gap) => {
                self.announcement(payload, announcement, context, summary);
                self.finish_join(context.now_ns);
            }
            MessageType::ProcessStatus => {
                self.ended_channels += usize::from(is_last_status(payload));
                if self.subscribe_options.any() {
                    self.announcement(payload, MessageType::ProcessStatus, context, summary);
                }
            }
            MessageType::Error if self.state == ClientState::Joining => {
                return Err(ConnectionEnd::Invalid(format!(
                    "the server refused a subscription: {}",
                    excerpt(payload)
                )));
            }
            MessageType::Error => context
                .tally
                .fault(|| format!("client {number} got an error message: {}", excerpt(payload))),
            MessageType::ProcessOutput => context.tally.fault(|| {
                format!(
                    "client {number} got a line that was not fed, \
                     or that was changed on its way: {}",
                    excerpt(payload)
                )
            }),
            MessageType::Other => {}
        }
        Ok(())
    }

    /// Passes a `subscribed`, a `gap` or a status to the ledger of its channel.
    fn announcement(
        &mut self,
        payload: &[u8],
        message_type: MessageType,
        context: &mut ReceiveContext<'_>,
        summary: &mut ReadSummary,
    ) {
        match self.apply_announcement(payload, message_type, context.workload) {
            Ok(missing) if self.subscribe_options.gaps => summary.skipped += missing,
            Ok(_) => {}
            Err(fault) => {
                let number = self.number;
                context
                    .tally
                    .fault(|| format!("client {number}: {fault}: {}", excerpt(payload)));
            }
        }
    }

    fn apply_announcement(
        &mut self,
        payload: &[u8],
        message_type: MessageType,
        workload: &Workload,
    ) -> Result<u64, AnnouncementFault> {
        let announcement = Announcement::parse(payload)?;
        let index = workload
            .channels_of(self.number)
            .position(|channel| workload.channel_name(channel) == announcement.channel)
            .ok_or_else(|| AnnouncementFault::Channel(announcement.channel.clone()))?;
        let ledger = self
            .ledgers
            .get_mut(index)
            .ok_or(AnnouncementFault::NotRequested)?;
        if message_type == MessageType::Subscribed {
            self.subscribed_replies += 1;
        }
        let published = self.published.get(index).copied().unwrap_or(0);
        announcement.apply(message_type, is_last_status(payload), ledger, published)
    }

    /// Completes the join if every subscription with options and the ping were answered.
    fn finish_join(&mut self, now_ns: u64) {
        if self.state == ClientState::Joining
            && self.ponged
            && self.subscribed_replies >= self.ledgers.len()
        {
            self.state = ClientState::Live;
            self.live_at_ns = now_ns;
        }
    }

    #[cold]
    pub(super) fn control_frame(
        &mut self,
        opcode: u8,
        payload: &[u8],
    ) -> Result<(), ConnectionEnd> {
        match opcode {
            PING => push_client_frame(&mut self.outbox, PONG, payload),
            CLOSE => {
                let echo = payload.get(..2).unwrap_or_default();
                push_client_frame(&mut self.outbox, CLOSE, echo);
                // 1005 stands for a close frame without a code.
                let code = payload
                    .first_chunk()
                    .map_or(1005, |code| u16::from_be_bytes(*code));
                let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default());
                return Err(ConnectionEnd::Closed(
                    format!("close code {code} {reason}").trim_end().to_owned(),
                ));
            }
            _ => {}
        }
        Ok(())
    }
}
