from routenator.chat.replies import parse_reply as parse_reply
from routenator.compose import load_config as load_config
from routenator.config import RunConfig as RunConfig
from routenator.domain.domain import Domain as Domain
from routenator.domain.loader import load_domain as load_domain
from routenator.errors import InputError as InputError
from routenator.errors import RoutenatorError as RoutenatorError
from routenator.generation.generator import Generator as Generator
from routenator.handoff.asking import Asker as Asker
from routenator.handoff.trained import open_trained as open_trained
from routenator.sampling.sampler import Sampler as Sampler
from routenator.wording.composer import Composer as Composer

__version__: str
