"""What a recipe may set of how roots are read."""

from __future__ import annotations

from pydantic import Field

from drivetrain import PluginConfig


class CacheConfig(PluginConfig):
    path: str = Field(default="", description="its folder; by default $DRIVETRAIN_CACHE, or one in the temporary directory")
    max_gb: float = Field(default=50, ge=0, description="GB that it holds at most, over all processes of a node; 0: no cache")
    chunk_mb: float = Field(default=16, gt=0, le=256, description="MB of a shard that are fetched as one")


class StorageConfig(PluginConfig):
    timeout_s: float = Field(default=30, gt=0, description="seconds after which one request to a remote root is given up")
    retry_s: float = Field(default=300, ge=0, description="seconds for which a read is tried again before the run stops")
    in_flight: int = Field(default=16, ge=1, description="requests at once to one remote root")
    hedge: bool = Field(
        default=True, description="ask once more, another root first, where a request takes unusually long for its size"
    )
    cache: CacheConfig | None = Field(
        default=None, description="the node's cache; where it is not set, remote roots have one as its defaults say"
    )
