//! Three races between activities: the first result, the first N of M, and a second request after a delay.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::activities::{Branch, BranchActivities};
use futures::future::join;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use shared::{BAD_INPUT, Input, OrCancelled, at_most, wait_up_to};
use std::{
    cell::RefCell,
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityCancellationType, ActivityExecutionError, ActivityOptions, ApplicationFailure,
    WorkflowCancellationToken, WorkflowContext, WorkflowResult, WorkflowTermination,
    workflows::join_all,
};

/// Time limit for one attempt at a branch.
const BRANCH: Duration = Duration::from_mins(2);

/// Without a heartbeat for this long, the server considers the worker of a branch dead. It also determines how soon a
/// branch learns that it has lost, because the SDK sends heartbeats at most every 1.6 s.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// The optional input of `PickFirstWorkflow`: `{"branches":[{"branch_id":"a","duration_seconds":1}]}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PickFirst {
    /// The branches.
    #[serde(deserialize_with = "branches")]
    pub branches: Vec<Branch>,
}

impl Default for PickFirst {
    fn default() -> Self {
        let branch = |id: &str, duration_seconds| Branch {
            branch_id: id.to_owned(),
            duration_seconds,
            fails: false,
        };
        Self {
            branches: vec![branch("option1", 10), branch("option2", 1)],
        }
    }
}

/// Starts all branches, and returns the result of the first one that succeeds.
#[workflow]
#[derive(Default)]
pub struct PickFirstWorkflow;

#[workflow_methods]
impl PickFirstWorkflow {
    /// Returns the text of the winner. Without input, there are two branches, and the second one is faster.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<Option<PickFirst>>,
    ) -> WorkflowResult<String> {
        let PickFirst { branches } = input.decode(ctx)?.unwrap_or_default();
        let winners = race(ctx, branches, 1).await?;
        Ok(winners.concat())
    }
}

/// Input of `PickSomeWorkflow`: `{"branches":[…],"winners":2}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PickSome {
    /// The branches.
    #[serde(deserialize_with = "branches")]
    pub branches: Vec<Branch>,
    /// Number of results to wait for.
    pub winners: NonZeroUsize,
}

/// Starts all branches, and returns the results of the first ones that succeed.
#[workflow]
#[derive(Default)]
pub struct PickSomeWorkflow;

#[workflow_methods]
impl PickSomeWorkflow {
    /// Returns the texts of the winners, in the order in which they finished.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<PickSome>,
    ) -> WorkflowResult<Vec<String>> {
        let PickSome { branches, winners } = input.decode(ctx)?;
        let (winners, count) = (winners.get(), branches.len());
        if winners > count {
            let message = format!("bad input: `winners`: {winners} of {count} branches cannot win");
            let failure = ApplicationFailure::builder(message)
                .type_name(BAD_INPUT.to_owned())
                .non_retryable(true);
            return Err(failure.build().into());
        }
        race(ctx, branches, winners).await
    }
}

/// Input of `HedgedRequestWorkflow`: `{"request":{…},"backup":{…},"delay_seconds":1}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct HedgedRequest {
    /// Starts at once.
    pub request: Branch,
    /// Starts if the request has no result after the delay, or has failed.
    pub backup: Branch,
    /// Seconds to wait for the request. Choose a time in which most requests are done.
    pub delay_seconds: NonZeroU32,
}

/// Starts a second request only if the first one is slow or fails, and returns the first result.
#[workflow]
#[derive(Default)]
pub struct HedgedRequestWorkflow {
    request_ended: bool,
}

#[workflow_methods]
impl HedgedRequestWorkflow {
    /// Returns the text of the request or of the backup.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<HedgedRequest>,
    ) -> WorkflowResult<String> {
        let input = input.decode(ctx)?;
        let delay = Duration::from_secs(input.delay_seconds.get().into());
        let race = Race::new(ctx, 2, 1);
        let request = async {
            race.finish(start(ctx, input.request, &race.group).await);
            ctx.state_mut(|hedge| hedge.request_ended = true);
        };
        let backup = async {
            wait_up_to(ctx, delay, |hedge| hedge.request_ended).await?;
            // If the request has won, its token is cancelled, and the backup does not start.
            race.finish(start(ctx, input.backup, &race.group).await);
            Ok(())
        };
        let ((), waited): (_, WorkflowResult<()>) = join(request, backup).await;
        waited?;
        Ok(race.results(ctx)?.concat())
    }
}

/// Runs all branches at once until `winners` of them have succeeded, or so many have failed that this is impossible. Then
/// cancels the others, and waits until they have stopped.
async fn race<W>(
    ctx: &WorkflowContext<W>,
    branches: Vec<Branch>,
    winners: usize,
) -> WorkflowResult<Vec<String>> {
    let race = Race::new(ctx, branches.len(), winners);
    let branches = branches.into_iter().map(|branch| {
        // Scheduled here, not when it is awaited, so that all branches start in the same workflow task.
        let running = start(ctx, branch, &race.group);
        async { race.finish(running.await) }
    });
    join_all(branches).await;
    race.results(ctx)
}

/// The state of a race.
struct Race {
    /// Cancelled with the workflow, and when the race is decided. The activities hold their token weakly, so it must live
    /// until they have ended.
    group: WorkflowCancellationToken,
    branches: usize,
    winners: usize,
    won: RefCell<Vec<String>>,
    lost: RefCell<Vec<ActivityExecutionError>>,
}

impl Race {
    fn new<W>(ctx: &WorkflowContext<W>, branches: usize, winners: usize) -> Self {
        Self {
            group: ctx.cancellation_token().child_token(),
            branches,
            winners,
            won: RefCell::default(),
            lost: RefCell::default(),
        }
    }

    /// Counts the result of a branch, and cancels the others if that decides the race.
    fn finish(&self, result: Result<String, ActivityExecutionError>) {
        // Too late, even with a result: a branch may ignore its cancellation.
        if self.group.is_cancelled() {
            return;
        }
        match result {
            Ok(result) => self.won.borrow_mut().push(result),
            Err(error) => self.lost.borrow_mut().push(error),
        }
        let (won, lost) = (self.won.borrow().len(), self.lost.borrow().len());
        if won == self.winners || lost > self.branches - self.winners {
            self.group.cancel();
        }
    }

    /// Returns the results of the winners, or the last error.
    fn results<W>(self, ctx: &WorkflowContext<W>) -> WorkflowResult<Vec<String>> {
        let won = self.won.into_inner();
        if won.len() == self.winners {
            return Ok(won);
        }
        match self.lost.into_inner().pop() {
            Some(error) => Err(error).or_cancelled(ctx),
            None => Err(WorkflowTermination::cancelled()),
        }
    }
}

/// Starts a branch. If it fails in a way that is retried, it stays in the race.
fn start<W>(
    ctx: &WorkflowContext<W>,
    branch: Branch,
    group: &WorkflowCancellationToken,
) -> impl Future<Output = Result<String, ActivityExecutionError>> {
    let options = ActivityOptions::with_start_to_close_timeout(BRANCH)
        .heartbeat_timeout(HEARTBEAT)
        // Dropping the future would not cancel the activity.
        .cancellation_token(group.clone())
        // The workflow ends only when the losers have stopped.
        .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
        .build();
    ctx.execute_activity(BranchActivities::sample_activity, branch, options)
}

/// Deserializes at least one and at most a hundred branches.
fn branches<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Branch>, D::Error> {
    let branches: Vec<Branch> = at_most::<_, _, 100>(deserializer)?;
    if branches.is_empty() {
        return Err(D::Error::custom("there must be at least one branch"));
    }
    Ok(branches)
}
