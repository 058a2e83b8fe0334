"""The certificate authorities that a database may have: Amazon RDS's in every region of the bundle, or another file's.

https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.SSL.html
"""

import re
import ssl
from pathlib import Path
from typing import Final

BUNDLE: Final = "rds-global-bundle.pem"  # also the CAs of Amazon Trust Services, which RDS Proxy uses


def certificate_file(name: str) -> Path:
    """Return the path of a file in this folder, or the path itself if it is absolute."""
    return Path(__file__).parent / (name or BUNDLE)


def regions(file: Path) -> list[str]:
    """Return the AWS regions whose RDS certificate authorities are in a bundle.

    Raises:
        OSError: the file cannot be read, or has no certificates.

    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(file)
    subjects = (str(certificate["subject"]) for certificate in context.get_ca_certs())
    found = (re.search(r"Amazon RDS ([a-z]+-[a-z-]+-\d) Root CA", subject) for subject in subjects)
    return sorted({match[1] for match in found if match})
