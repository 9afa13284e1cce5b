"""`python -m verl_vaopd.platform.job_environment` prints the runtime_env of a Ray job, for launch/ray_job.sh.

The job gets the variables of `forwarded_environment` but those with a secret: Ray keeps a job's runtime_env, answers
with it who asks, and writes it into the logs of every node. It says on standard error which ones are not sent.
"""

import json
import sys

from verl_vaopd.platform.environment import forwarded_environment, is_secret

NOT_UPLOADED = [".git", "tests", "docs"]
"""Beside what .gitignore lists."""


def main() -> None:
    """Print it."""
    variables = forwarded_environment()
    secret = sorted(name for name, value in variables.items() if is_secret(name, value))
    if secret:
        print(
            f"ray_job.sh: not sent: {', '.join(secret)}, as Ray would write them into its logs. Set them where the "
            "cluster's head is started: a training hands them to its workers unseen. Or name a file with the token on "
            "storage that every node sees: HF_TOKEN_PATH",
            file=sys.stderr,
        )
    sent = {name: value for name, value in variables.items() if name not in secret}
    print(json.dumps({"excludes": NOT_UPLOADED, "env_vars": sent}))


if __name__ == "__main__":
    main()
