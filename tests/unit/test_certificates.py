"""The certificate authorities that the package contains."""

from pathlib import Path

from event_service.certificates import certificate_file, regions

# Where CloudFormation, Lambda on arm64 and RDS for PostgreSQL exist, and AWS's bundle had a CA when it was copied.
REGIONS = {
    *("af-south-1", "ap-east-1", "ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-south-2"),
    *("ap-southeast-1", "ap-southeast-2", "ap-southeast-3", "ap-southeast-4", "ap-southeast-5"),
    *("ca-central-1", "ca-west-1", "eu-central-1", "eu-central-2", "eu-north-1", "eu-south-1", "eu-south-2"),
    *("eu-west-1", "eu-west-2", "eu-west-3", "il-central-1", "me-central-1", "me-south-1", "sa-east-1"),
    *("us-east-1", "us-east-2", "us-west-1", "us-west-2"),
}
DEPLOYING = (Path(__file__).parents[2] / "docs" / "deploying.md").read_text()


def test_the_bundle_covers_the_regions_that_the_manual_names() -> None:
    """A fetched bundle may cover more; the manual has to name those of the one in the repository."""
    covered = set(regions(certificate_file("")))
    assert covered >= REGIONS
    assert [region for region in covered if f"`{region}`" not in DEPLOYING] == []


def test_another_bundle_replaces_the_one_of_amazon() -> None:
    """By its name in the folder, or anywhere else by its path."""
    assert certificate_file("corporate.pem") == certificate_file("").with_name("corporate.pem")
    assert certificate_file("/etc/ssl/corporate.pem") == Path("/etc/ssl/corporate.pem")
