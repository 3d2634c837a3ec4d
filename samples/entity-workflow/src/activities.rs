//! The activity. It stands in for a service that checks profiles.

use crate::account::Profile;
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure,
    activities::{ActivityContext, ActivityError},
};

/// Type of the failure of an update with an invalid profile.
pub const INVALID_PROFILE: &str = "InvalidProfile";

/// The activities of this sample.
#[derive(Clone, Copy, Debug)]
pub struct UserActivities;

#[activities]
impl UserActivities {
    /// Fails if the email address has no `@`. Another attempt would not help, so it is not retried.
    #[activity(name = "validate_profile")]
    pub async fn validate_profile(
        _ctx: ActivityContext,
        profile: Profile,
    ) -> Result<(), ActivityError> {
        if profile.email.contains('@') {
            return Ok(());
        }
        let message = format!("the email {:?} has no @", profile.email);
        let failure = ApplicationFailure::builder(message)
            .type_name(INVALID_PROFILE.to_owned())
            .non_retryable(true);
        Err(failure.build().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;
    use temporalio_sdk::testing::{ActivityEnvironment, ActivityEnvironmentError};

    /// The activity runs without a server and without a worker. Its failure is final, and has a type.
    #[tokio::test]
    async fn validates_profiles() -> anyhow::Result<()> {
        let env = ActivityEnvironment::builder().build();
        let profile = |email: &str| Profile {
            name: "Ada".to_owned(),
            email: email.to_owned(),
        };
        let validate = async |email: &str| {
            let profile = profile(email);
            env.run(UserActivities::validate_profile, profile).await
        };
        validate("ada@example.com").await?;
        let failed = validate("ada.example.com").await;
        let Err(ActivityEnvironmentError::Activity(ActivityError::Application(failure))) = failed
        else {
            bail!("{failed:?}");
        };
        assert_eq!(
            failure.to_string(),
            "the email \"ada.example.com\" has no @"
        );
        assert_eq!(failure.type_name(), Some(INVALID_PROFILE));
        assert!(failure.is_non_retryable());
        Ok(())
    }
}
