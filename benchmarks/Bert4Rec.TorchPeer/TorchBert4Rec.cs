using Bert4Rec.Model;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Bert4Rec.TorchPeer;

/// <summary>The same BERT4Rec as one writes it in TorchSharp: padded batches, modules, autograd. Parameters have RecBole's names.</summary>
internal sealed class TorchBert4Rec : Module<Tensor, Tensor, Tensor>
{
    private readonly int _items;

    // Fields without an underscore are registered under their names.
    private readonly Embedding item_embedding;
    private readonly Embedding position_embedding;
    private readonly LayerNorm LayerNorm;
    private readonly Dropout _dropout;
    private readonly Encoder trm_encoder;
    private readonly Linear output_ffn;
    private readonly LayerNorm output_ln;
    private readonly Parameter output_bias;

    public TorchBert4Rec(ModelShape shape)
        : base(nameof(TorchBert4Rec))
    {
        _items = shape.ItemCount;
        item_embedding = Embedding(shape.ItemCount + 1, shape.HiddenSize, padding_idx: 0);
        position_embedding = Embedding(shape.MaximumLength, shape.HiddenSize);
        LayerNorm = nn.LayerNorm(shape.HiddenSize, shape.LayerNormEpsilon);
        _dropout = nn.Dropout(shape.HiddenDropout);
        trm_encoder = new Encoder(shape);
        output_ffn = Linear(shape.HiddenSize, shape.HiddenSize);
        output_ln = nn.LayerNorm(shape.HiddenSize, shape.LayerNormEpsilon);
        output_bias = Parameter(zeros(shape.ItemCount));
        RegisterComponents();
    }

    /// <summary>Scores of all items at the masked rows.</summary>
    /// <param name="tokens">[B, L], padded with 0 at the end.</param>
    /// <param name="maskedRows">[M] of the B · L rows.</param>
    public override Tensor forward(Tensor tokens, Tensor maskedRows)
    {
        long length = tokens.shape[1];
        // 0 for events, a large negative number for padding: [B, 1, 1, L].
        var attentionMask = tokens.eq(0).unsqueeze(1).unsqueeze(2).to(float32) * -10000f;
        var x = item_embedding.forward(tokens) + position_embedding.forward(arange(length)).unsqueeze(0);
        x = _dropout.forward(LayerNorm.forward(x));
        x = trm_encoder.forward(x, attentionMask);
        var masked = x.reshape(-1, x.shape[2]).index_select(0, maskedRows);
        var h = output_ln.forward(functional.gelu(output_ffn.forward(masked)));
        return functional.linear(h, item_embedding.weight!.narrow(0, 0, _items), output_bias);
    }

    private sealed class Encoder : Module<Tensor, Tensor, Tensor>
    {
        private readonly ModuleList<EncoderLayer> layer = [];

        public Encoder(ModelShape shape)
            : base(nameof(Encoder))
        {
            for (int i = 0; i < shape.Layers; i++)
                layer.Add(new EncoderLayer(shape));
            RegisterComponents();
        }

        public override Tensor forward(Tensor x, Tensor attentionMask)
        {
            foreach (var one in layer)
                x = one.forward(x, attentionMask);
            return x;
        }
    }

    private sealed class EncoderLayer : Module<Tensor, Tensor, Tensor>
    {
        private readonly MultiHeadAttention multi_head_attention;
        private readonly FeedForward feed_forward;

        public EncoderLayer(ModelShape shape)
            : base(nameof(EncoderLayer))
        {
            multi_head_attention = new MultiHeadAttention(shape);
            feed_forward = new FeedForward(shape);
            RegisterComponents();
        }

        public override Tensor forward(Tensor x, Tensor attentionMask) =>
            feed_forward.forward(multi_head_attention.forward(x, attentionMask));
    }

    private sealed class MultiHeadAttention : Module<Tensor, Tensor, Tensor>
    {
        private readonly int _heads;
        private readonly Linear query;
        private readonly Linear key;
        private readonly Linear value;
        private readonly Linear dense;
        private readonly LayerNorm LayerNorm;
        private readonly Dropout _attentionDropout;
        private readonly Dropout _hiddenDropout;

        public MultiHeadAttention(ModelShape shape)
            : base(nameof(MultiHeadAttention))
        {
            _heads = shape.Heads;
            query = Linear(shape.HiddenSize, shape.HiddenSize);
            key = Linear(shape.HiddenSize, shape.HiddenSize);
            value = Linear(shape.HiddenSize, shape.HiddenSize);
            dense = Linear(shape.HiddenSize, shape.HiddenSize);
            LayerNorm = nn.LayerNorm(shape.HiddenSize, shape.LayerNormEpsilon);
            _attentionDropout = nn.Dropout(shape.AttentionDropout);
            _hiddenDropout = nn.Dropout(shape.HiddenDropout);
            RegisterComponents();
        }

        public override Tensor forward(Tensor x, Tensor attentionMask)
        {
            long batch = x.shape[0], length = x.shape[1], h = x.shape[2];
            Tensor q = Heads(query.forward(x)), k = Heads(key.forward(x)), v = Heads(value.forward(x));
            var scores = (q.matmul(k.transpose(-1, -2)) / Math.Sqrt(h / (double)_heads)) + attentionMask;
            var probabilities = _attentionDropout.forward(functional.softmax(scores, -1));
            var context = probabilities.matmul(v).transpose(1, 2).reshape(batch, length, h);
            return LayerNorm.forward(_hiddenDropout.forward(dense.forward(context)) + x);

            Tensor Heads(Tensor y) => y.view(batch, length, _heads, h / _heads).transpose(1, 2);
        }
    }

    private sealed class FeedForward : Module<Tensor, Tensor>
    {
        private readonly Linear dense_1;
        private readonly Linear dense_2;
        private readonly LayerNorm LayerNorm;
        private readonly Dropout _dropout;

        public FeedForward(ModelShape shape)
            : base(nameof(FeedForward))
        {
            dense_1 = Linear(shape.HiddenSize, shape.InnerSize);
            dense_2 = Linear(shape.InnerSize, shape.HiddenSize);
            LayerNorm = nn.LayerNorm(shape.HiddenSize, shape.LayerNormEpsilon);
            _dropout = nn.Dropout(shape.HiddenDropout);
            RegisterComponents();
        }

        public override Tensor forward(Tensor x) =>
            LayerNorm.forward(_dropout.forward(dense_2.forward(functional.gelu(dense_1.forward(x)))) + x);
    }
}
