"""Sequence models from `torch.nn`: recurrent networks, and the built-in transformer layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.plain import entry, floats, tokens


class LanguageModel(nn.Module):
    """Embedding, a stack of LSTM or GRU layers, and a decoder; also gives the final state, as is usual."""

    def __init__(
        self,
        rnn: type[nn.LSTM] | type[nn.GRU] = nn.LSTM,
        vocab: int = 37,
        embedding: int = 14,
        hidden: int = 19,
        layers: int = 2,
        proj_size: int = 0,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        options = {"proj_size": proj_size} if proj_size else {}
        self.hidden_size = hidden
        self.drop = nn.Dropout(dropout)
        self.encoder = nn.Embedding(vocab, embedding)
        self.rnn = rnn(embedding, hidden, layers, batch_first=True, dropout=dropout, **options)
        self.decoder = nn.Linear(proj_size or hidden, vocab)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | tuple[Tensor, Tensor]]:
        output, state = self.rnn(self.drop(self.encoder(x)))
        return self.decoder(self.drop(output)), state


class Tagger(nn.Module):
    """A bidirectional LSTM, time first."""

    def __init__(self, vocab: int = 37, embedding: int = 10, hidden: int = 13, tags: int = 6) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, embedding, padding_idx=0)
        self.lstm = nn.LSTM(embedding, hidden, bidirectional=True)
        self.hidden2tag = nn.Linear(2 * hidden, tags)

    def forward(self, x: Tensor) -> Tensor:
        output, _ = self.lstm(self.embedding(x.t()))
        return self.hidden2tag(output).log_softmax(-1)


class RNNClassifier(nn.Module):
    def __init__(self, inputs: int = 5, hidden: int = 17, classes: int = 4) -> None:
        super().__init__()
        self.rnn = nn.RNN(inputs, hidden, batch_first=True, nonlinearity="tanh")
        self.fc = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        _, last = self.rnn(x)
        return self.fc(last[-1])


class CellLoop(nn.Module):
    """LSTM cells stepped by hand; the module that reads the state is applied at every step."""

    def __init__(self, inputs: int = 5, hidden: tuple[int, int] = (12, 15), outputs: int = 4) -> None:
        super().__init__()
        self.hidden = hidden
        self.cell1 = nn.LSTMCell(inputs, hidden[0])
        self.cell2 = nn.LSTMCell(hidden[0], hidden[1])
        self.linear = nn.Linear(hidden[1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        h1 = c1 = x.new_zeros(x.size(0), self.hidden[0])
        h2 = c2 = x.new_zeros(x.size(0), self.hidden[1])
        outputs = []
        for step in x.unbind(1):
            h1, c1 = self.cell1(step, (h1, c1))
            h2, c2 = self.cell2(h1, (h2, c2))
            outputs.append(self.linear(h2))
        return torch.stack(outputs, dim=1)


class Seq2Seq(nn.Module):
    def __init__(
        self,
        src_vocab: int = 31,
        tgt_vocab: int = 37,
        d_model: int = 24,
        nhead: int = 4,
        feedforward: int = 40,
        encoder_layers: int = 2,
        decoder_layers: int = 1,
        max_len: int = 11,
    ) -> None:
        super().__init__()
        self.src_embedding = nn.Embedding(src_vocab, d_model)
        self.tgt_embedding = nn.Embedding(tgt_vocab, d_model)
        self.position = nn.Embedding(max_len, d_model)
        self.transformer = nn.Transformer(
            d_model, nhead, encoder_layers, decoder_layers, feedforward, dropout=0.1, batch_first=True
        )
        self.generator = nn.Linear(d_model, tgt_vocab)

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        source = self.src_embedding(src) + self.position(torch.arange(src.size(1), device=src.device))
        target = self.tgt_embedding(tgt) + self.position(torch.arange(tgt.size(1), device=tgt.device))
        mask = nn.Transformer.generate_square_subsequent_mask(tgt.size(1), device=tgt.device)
        # Told that the mask is causal, the transformer need not look at its values, which export cannot do.
        return self.generator(self.transformer(source, target, tgt_mask=mask, tgt_is_causal=True))


class EncoderClassifier(nn.Module):
    def __init__(
        self,
        vocab: int = 37,
        d_model: int = 24,
        nhead: int = 3,
        feedforward: int = 40,
        layers: int = 2,
        max_len: int = 11,
        classes: int = 5,
        norm_first: bool = False,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, d_model)
        self.pos_embedding = nn.Parameter(torch.randn(max_len, d_model) * 0.5)
        layer = nn.TransformerEncoderLayer(
            d_model, nhead, feedforward, activation=activation, batch_first=True, norm_first=norm_first
        )
        # A pre-norm stack leaves its residual stream unnormalised, so it ends in a norm of its own.
        norm = nn.LayerNorm(d_model) if norm_first else None
        self.encoder = nn.TransformerEncoder(layer, layers, norm, enable_nested_tensor=False)
        self.fc = nn.Linear(d_model, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x) + self.pos_embedding[: x.size(1)]
        return self.fc(self.encoder(x).mean(dim=1))


MODELS = [
    entry("lstm_lm", LanguageModel, lambda: tokens(2, 7, vocab=37)),
    entry("lstm_tagger", Tagger, lambda: tokens(2, 7, vocab=37)),
    entry("lstm_projected", lambda: LanguageModel(proj_size=11), lambda: tokens(2, 7, vocab=37)),
    entry("gru_lm", lambda: LanguageModel(nn.GRU), lambda: tokens(2, 7, vocab=37)),
    entry("rnn_classifier", RNNClassifier, lambda: floats(2, 7, 5)),
    entry("lstmcell_loop", CellLoop, lambda: floats(2, 6, 5)),
    entry(
        "transformer_seq2seq",
        Seq2Seq,
        lambda: {"src": tokens(2, 8, vocab=31), "tgt": tokens(2, 7, vocab=37, seed=2)},
    ),
    entry("transformer_encoder_postnorm", EncoderClassifier, lambda: tokens(2, 7, vocab=37)),
    entry(
        "transformer_encoder_prenorm",
        lambda: EncoderClassifier(norm_first=True, activation="gelu"),
        lambda: tokens(2, 7, vocab=37),
    ),
]
