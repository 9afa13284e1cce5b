# shellcheck shell=bash
# Sourced by the tests of clusters, which set LABEL: the small training that they have in common, and how they speak.

# hardware=cpu counts logical GPUs, which Ray is told of when it is started.
# shellcheck disable=SC2034  # the caller's
SMALL=(
    hardware=cpu dataset=tinygeo student=tiny teacher=tiny method=vaopd
    ray_kwargs.ray_init.num_cpus=null ray_kwargs.ray_init.num_gpus=null
    dataset.num_train=64 dataset.num_validation=4 dataset.num_test=4
    data.train_batch_size=2 actor_rollout_ref.rollout.n=2 validation.num_questions=4 validation.n=1 checkpoint.every=2
)

say() { printf '[%s %4d s] %s\n' "$LABEL" "$SECONDS" "$*"; }
fail() {
    say "FAILED: $*"
    exit 1
}
