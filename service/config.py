"""Settings: every switch of the service, read from `EXPUNGE_…` environment variables."""

import uuid
from datetime import date
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.errors import Unprocessable
from service.methods import catalog
from service.policies import load_policy
from service.tracing import tracing_installed


class Settings(BaseSettings):
    """One object for all processes; paths left out are put under `home`."""

    model_config = SettingsConfigDict(
        env_prefix="EXPUNGE_",
        extra="ignore",
        hide_input_in_errors=True,  # URLs may hold passwords
    )

    home: Path = Path(".expunge")
    mode: Literal["embedded", "production"] = "embedded"
    database_url: str = ""
    database_password_file: Path | None = None
    broker_url: str = "filesystem://"
    storage_url: str = ""
    data_roots: list[Path] = Field(default_factory=list)
    signing_key_file: Path = Path()
    pepper_file: Path = Path()
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    api_processes: int = Field(default=1, ge=1, le=64)
    pulse_file: Path | None = None
    lease_s: float = Field(default=30, gt=0)
    sweep_interval_s: float = Field(default=5, gt=0)
    dispatch_interval_s: float = Field(default=0.2, gt=0)
    reference_seeds_per_job: int = Field(default=5, ge=1)
    reference_grace_s: float = Field(default=3600, ge=0)
    max_failures: int = Field(default=3, ge=1)
    approval_policies: list[str] = Field(default_factory=list)
    approval_yields_days: float = Field(default=5, gt=0, le=365)
    public_holidays: list[date] = Field(default_factory=list)
    idempotency_days: float = Field(default=30, gt=0)
    back_off_s: float = Field(default=5, gt=0)
    visibility_s: float = Field(default=6 * 3600, gt=0)
    orphan_age_s: float = Field(default=3600, gt=0)
    checkpoint_interval_s: float = Field(default=3600, gt=0)
    keep_superseded_days: float = Field(default=30, ge=0)
    keep_samples_days: float = Field(default=90, ge=0)
    workers: int = Field(default=0, ge=0)
    threads: int = Field(default=0, ge=0)
    device: str = "auto"
    plugin_methods: list[str] = Field(default_factory=list)
    max_body_bytes: int = Field(default=64 * 2**20, ge=1)
    max_sample_ids: int = Field(default=100_000, ge=1)
    rate_limits_url: str = ""
    rate_window_s: int = Field(default=60, ge=1, le=86_400)
    rate_key_reads: int = Field(default=6000, ge=0)
    rate_key_writes: int = Field(default=600, ge=0)
    rate_tenant_reads: int = Field(default=24_000, ge=0)
    rate_tenant_writes: int = Field(default=2400, ge=0)
    quota_datasets: int = Field(default=1000, ge=0)
    quota_models: int = Field(default=1000, ge=0)
    quota_open_requests: int = Field(default=10_000, ge=0)
    quota_open_audits: int = Field(default=1000, ge=0)
    quota_running_qualifications: int = Field(default=100, ge=0)
    quota_keys: int = Field(default=1000, ge=0)
    public_url: str = Field(default="", pattern=r"^(https?://[!-~]+[^/])?$")
    outgoing_hosts: tuple[str, ...] = ()
    outgoing_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    outgoing_allow_http: bool = False
    outgoing_ca_file: Path | None = None
    outgoing_timeout_s: float = Field(default=10, gt=0, le=60)
    webhooks_kept_days: float = Field(default=30, gt=0)
    otlp_endpoint: str = Field(default="", pattern=r"^(https?://[!-~]+[^/])?$")
    metrics_networks: tuple[IPv4Network | IPv6Network, ...] = (
        IPv4Network("127.0.0.0/8"),
        IPv6Network("::1/128"),
    )
    opendsr_key_file: Path | None = None
    opendsr_certificate_file: Path | None = None
    opendsr_model_id: uuid.UUID | None = None

    @model_validator(mode="after")
    def _fill_home(self) -> Self:
        """Make `home` absolute and derive every path that was left out from it."""
        self.home = self.home.expanduser().resolve()
        self.database_url = self.database_url or f"sqlite:///{self.home / 'expunge.db'}"
        if self.database_password_file is not None:
            self.database_url = _with_password(self.database_url, self.database_password_file)
        self.storage_url = self.storage_url or f"file://{self.home / 'storage'}"
        self.data_roots = [root.expanduser().resolve() for root in self.data_roots]
        self.data_roots = self.data_roots or [self.home / "data"]
        if self.signing_key_file == Path():
            self.signing_key_file = self.home / "keys" / "signing.pem"
        if self.pepper_file == Path():
            self.pepper_file = self.home / "keys" / "pepper"
        return self

    @model_validator(mode="after")
    def _refuse_clashes(self) -> Self:
        """Refuse declared plug-ins that have the name of one of Expunge's own methods."""
        if taken := sorted(set(self.plugin_methods) & set(catalog())):
            raise ValueError(
                f"EXPUNGE_PLUGIN_METHODS names {', '.join(taken)}, which Expunge has itself; have"
                " the plug-in's entry point renamed"
            )
        return self

    @model_validator(mode="after")
    def _check_approval_policies(self) -> Self:
        """Refuse names of no policy: a misspelt one would turn approval off without a word."""
        for name in self.approval_policies:
            try:
                load_policy(name)
            except Unprocessable as error:
                raise ValueError(f"EXPUNGE_APPROVAL_POLICIES names {name!r}. {error}") from None
        return self

    @model_validator(mode="after")
    def _check_outgoing(self) -> Self:
        """Refuse plain HTTP in production."""
        if self.outgoing_allow_http and self.mode == "production":
            raise ValueError("outgoing_allow_http is for the embedded mode alone")
        return self

    @model_validator(mode="after")
    def _check_otlp_endpoint(self) -> Self:
        """Refuse a collector that spans cannot be sent to as its URL and this installation are."""
        if not self.otlp_endpoint:
            return self
        parts = urlsplit(self.otlp_endpoint)
        if parts.query or parts.fragment or "@" in parts.netloc or not parts.hostname:
            raise ValueError(
                "EXPUNGE_OTLP_ENDPOINT is a URL like http://collector:4318, without user, query and"
                " fragment; what a collector wants to be told goes into OTEL_EXPORTER_OTLP_HEADERS"
            )
        if not tracing_installed():
            raise ValueError(
                "EXPUNGE_OTLP_ENDPOINT is set, but OpenTelemetry is not installed; install the"
                " extra with pip install 'expunge[otel]', or unset it"
            )
        return self

    @property
    def quotas(self) -> dict[str, int]:
        """How many of each thing one tenant may have at a time; 0 is no limit."""
        values = self.model_dump(
            include={name for name in type(self).model_fields if name.startswith("quota_")}
        )
        return {name.removeprefix("quota_"): most for name, most in values.items()}

    @property
    def cache_root(self) -> Path:
        """Folder of the caches that a worker keeps on this machine, one folder per cache key."""
        return self.home / "cache"


def _with_password(url: str, file: Path) -> str:
    """Return the URL with the password that a file holds, escaped as a URL wants it.

    Raises:
        ValueError: The URL has one already, or names nobody; the file is missing or empty.
    """
    from sqlalchemy import make_url

    made = make_url(url)
    if made.password is not None or not made.username:
        raise ValueError(
            "EXPUNGE_DATABASE_PASSWORD_FILE needs a database URL with a user and without a password"
        )
    try:
        password = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"the database password cannot be read: {error}") from error
    if not password:
        raise ValueError(f"{file} holds no database password")
    return made.set(password=password).render_as_string(hide_password=False)


def get_settings() -> Settings:
    """Read the environment now; nothing is cached, so a test can change it."""
    return Settings()
