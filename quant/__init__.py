"""What a quantized model is: its notation, its arithmetic, its bytes and its folder on disk.

`compress` trains and writes such models, `serving` runs them; both import this package and never each other. It needs
torch and safetensors only, so that the serving image stays small, and the `tokenizers` that both have.

    errors      the base of all errors that programs see
    scheme      the notation: 2-2-8, 6-3
    activations functions of feed-forward blocks, the same bits in training and in every runner
    numerics    quantize, dequantize, fake-quantize, and the two integer products (linear, attention)
    packing     codes to bytes and back: 8-bit, 4-bit, five ternary digits a byte
    structure   other bits in some blocks, fewer heads in some attentions
    configuration  a config.json, read for what is computed here
    layout      which tensors a BART or mBART model has, and how each is stored
    card        what the model is for, and how a text becomes source ids
    generation  how outputs are searched for: the settings, checked
    tokenizer_file  the tokenizer, within limits
    header      what a weights file says of itself
    checking    tensors against the layout
    artifact    the folder: written whole, read with every fault listed at once
    evaluation_file  the scores beside it
"""
